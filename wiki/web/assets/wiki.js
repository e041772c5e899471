// What the pages can do beyond plain HTML. Everything works without it.
"use strict";

(function () {
  const page = document.body.dataset.page;
  const form = document.querySelector("[data-editor]");
  if (form) editor(form);
  else if (page) reader(page);
  const list = document.querySelector("[data-live]");
  if (list) live(list);

  // live shows a list again when something happens that concerns it, and now
  // and then if it asks for that. The server writes it; a reader who has gone
  // on to older entries, or is choosing something in it, is left alone.
  function live(list) {
    if (new URLSearchParams(location.search).has("cursor") || !window.EventSource) return;
    const pause = 300;
    let source = null, timer = 0, running = false, again = false, last = "";

    function show() {
      timer = 0;
      if (running) { again = true; return; }
      if (document.hidden || list.contains(document.activeElement)) return;
      running = true;
      fetch(location.pathname).then((r) => r.ok ? r.text() : "").then((text) => {
        const fresh = text && new DOMParser().parseFromString(text, "text/html").querySelector("[data-live]");
        if (!fresh || fresh.innerHTML === last) return;
        last = fresh.innerHTML;
        list.replaceChildren(...fresh.childNodes);
      }).catch(() => {}).finally(() => {
        running = false;
        if (again) { again = false; soon(); }
      });
    }
    function soon() { if (!timer) timer = setTimeout(show, pause); }
    function listen() {
      if (source || document.hidden) return;
      source = new EventSource("/-/api/v1/events");
      for (const name of list.dataset.live.split(" ")) source.addEventListener(name, soon);
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && source) { source.close(); source = null; } else if (!document.hidden) { listen(); soon(); }
    });
    const every = Number(list.dataset.every);
    if (every) setInterval(soon, every * 1000);
    listen();
  }

  // reader tells of new revisions of the page shown, and how far its newest
  // one has spread. Browsers allow few connections to one host, so only a
  // visible page keeps its stream open.
  function reader(page) {
    const news = document.querySelector("[data-news]");
    const spread = document.querySelector("[data-spread]");
    const commit = document.body.dataset.commit || "";
    let source = null;

    function refresh(tries) {
      if (!spread || tries === 0) return;
      fetch("/-/api/v1/pages/" + encodeURIComponent(page) + "?fields=nodes").then((r) => r.json()).then((p) => {
        if (!p.nodes || p.commit !== commit) return;
        let words = "on " + p.nodes.have + " of " + p.nodes.of + (p.nodes.of === 1 ? " node" : " nodes");
        const ms = p.nodes.ms;
        if (ms) words += ", " + (ms < 10 ? ms.toFixed(1) + " ms" : ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(1) + " s");
        spread.textContent = words;
        const told = document.querySelector("[data-spread-told]");
        if (told) told.textContent = " It is " + words + ".";
        if (p.nodes.have < p.nodes.of) setTimeout(() => refresh(tries - 1), tries > 28 ? 150 : 1000);
      }).catch(() => {});
    }
    function listen() {
      if (source || !window.EventSource || document.hidden) return;
      source = new EventSource("/-/api/v1/events");
      source.addEventListener("commit", (e) => {
        let args;
        try { args = JSON.parse(e.data).args; } catch (_) { return; }
        if (!args || args.page !== page || args.checksum === commit || !news) return;
        news.textContent = "This page was changed just now. ";
        const link = document.createElement("a");
        link.href = location.pathname;
        link.textContent = "Show it";
        news.appendChild(link);
        news.hidden = false;
      });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && source) { source.close(); source = null; } else listen();
    });
    listen();
    if (spread && spread.dataset.spread === "partial") refresh(30);
  }

  // editor keeps a draft, previews while one writes, and saves on Ctrl+S.
  function editor(form) {
    const text = form.elements.text;
    const author = form.elements.author;
    const status = document.querySelector("[data-draft]");
    const preview = document.querySelector("[data-preview]");
    const key = "erwik draft " + page;
    const first = text.value;
    let saved = false, timer = 0, running = false, again = false;

    function say(words) { status.textContent = words; }

    function keep() {
      try {
        localStorage.setItem(key, JSON.stringify({ text: text.value, base: form.elements.base.value, at: Date.now() }));
        say("Draft kept in this browser, " + new Date().toLocaleTimeString() + ".");
      } catch (_) {
        say("The draft is NOT kept: this browser has no room for it. Copy your text before you leave.");
      }
    }

    try {
      const name = localStorage.getItem("erwik author");
      if (name && !author.value) author.value = name;
      const old = JSON.parse(localStorage.getItem(key) || "null");
      if (old && old.text !== first && document.querySelectorAll(".notice").length === 0) {
        say("A draft of " + new Date(old.at).toLocaleString() + " is kept in this browser. ");
        const use = document.createElement("button");
        use.type = "button";
        use.textContent = "Use it";
        use.addEventListener("click", () => {
          text.value = old.text;
          form.elements.base.value = old.base;
          say("This is your draft.");
          show();
        });
        const drop = document.createElement("button");
        drop.type = "button";
        drop.textContent = "Throw it away";
        drop.addEventListener("click", () => { localStorage.removeItem(key); say("The draft is gone."); });
        status.append(use, " ", drop);
      }
    } catch (_) { /* storage is switched off: there is no draft */ }

    function show() {
      if (running) { again = true; return; }
      running = true;
      fetch("/-/api/v1/preview", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ path: page, text: text.value }),
      }).then((r) => r.ok ? r.json() : null).then((p) => {
        if (!p) return;
        preview.querySelector(".text").innerHTML = p.html; // sanitised by the server
        preview.hidden = false;
      }).catch(() => {}).finally(() => {
        running = false;
        if (again) { again = false; show(); }
      });
    }

    text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => { keep(); show(); }, 300);
    });
    form.addEventListener("submit", (e) => {
      clearTimeout(timer);
      try { localStorage.setItem("erwik author", author.value); } catch (_) { /* not kept */ }
      if (text.value !== first) keep();
      saved = true;
      if (!navigator.onLine && !(e.submitter && e.submitter.value === "preview")) {
        e.preventDefault();
        saved = false;
        say("You are offline. Your text is still here; save again when the network is back.");
      }
    });
    // Files that are dropped on the text or pasted into it are uploaded into the
    // page's folder and named where the text stands.
    function take(e, list) {
      const files = Array.from(list || []).filter((f) => f.size > 0 || f.name);
      if (files.length === 0) return;
      e.preventDefault();
      files.reduce((before, f) => before.then(() => upload(f, 0)), Promise.resolve());
    }
    function upload(file, tries) {
      const folder = page.includes("/") ? page.slice(0, page.lastIndexOf("/") + 1) : "";
      const at = file.name.lastIndexOf("."), end = at > 0 ? at : file.name.length;
      const name = folder + file.name.slice(0, end).replace(/^\.+/, "") + (tries ? "-" + (tries + 1) : "") + file.name.slice(end);
      const query = new URLSearchParams({ author: author.value });
      say("Uploading " + name + " …");
      return fetch("/-/files/" + name.split("/").map(encodeURIComponent).join("/") + "?" + query, { method: "PUT", body: file }).then((r) => {
        if (r.status === 409 && tries < 20) return upload(file, tries + 1);
        return r.json().then((a) => {
          if (!r.ok) { say("Not uploaded: " + (a.detail || r.statusText) + (a.next ? ". " + a.next : "")); return; }
          text.setRangeText("![[" + a.path + "]]", text.selectionStart, text.selectionEnd, "end");
          text.dispatchEvent(new Event("input"));
          say("Uploaded " + a.path + ".");
        });
      }).catch(() => say("Not uploaded: no answer from the node."));
    }
    text.addEventListener("paste", (e) => take(e, e.clipboardData && e.clipboardData.files));
    text.addEventListener("drop", (e) => take(e, e.dataTransfer && e.dataTransfer.files));
    text.addEventListener("dragover", (e) => {
      if (e.dataTransfer && Array.from(e.dataTransfer.types).includes("Files")) e.preventDefault();
    });
    window.addEventListener("beforeunload", (e) => {
      if (!saved && text.value !== first) e.preventDefault();
    });
    window.addEventListener("pageshow", () => { saved = false; });
    document.addEventListener("keydown", (e) => {
      if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === "s") {
        e.preventDefault();
        form.querySelector("button[value=save]").click();
      }
    });
    if (text.value !== "") show();
  }

  // A page that is shown after a save needs its draft no more.
  const done = document.querySelector(".notice.saved");
  if (done && page) {
    try { localStorage.removeItem("erwik draft " + page); } catch (_) { /* there was none */ }
  }
})();
