package wiki

import (
	"encoding/hex"
	"net/http"

	"github.com/erwik/erwik/storage"
)

// statusAnswer is what GET status says.
type statusAnswer struct {
	Node         storage.NodeID           `json:"node"`
	Name         string                   `json:"name"`
	Version      string                   `json:"version"`
	Ready        bool                     `json:"ready"`
	Reason       string                   `json:"reason,omitempty"`
	Pages        uint64                   `json:"pages"`
	Files        uint64                   `json:"files"`
	Commits      uint64                   `json:"commits"`
	Digest       string                   `json:"digest"`
	Vector       map[storage.LogID]uint64 `json:"vector"`
	Staged       int                      `json:"staged"`
	Regressed    bool                     `json:"regressed,omitempty"`
	FilesMissing int                      `json:"files_missing"`
	Voter        bool                     `json:"voter"`
	Leader       *string                  `json:"leader"`
	Term         uint64                   `json:"term"`
	Cut          uint64                   `json:"cut"`
	Main         *string                  `json:"main"`
	Neighbors    any                      `json:"neighbors"`
}

func (h *Handler) apiStatus(w http.ResponseWriter, r *http.Request) error {
	ready, reason := h.ready()
	if ready {
		reason = ""
	}
	stats := h.store.Stats()
	return answerJSON(w, r, http.StatusOK, statusAnswer{
		Node: h.node, Name: h.nodeName, Version: h.version, Ready: ready, Reason: reason,
		Pages: stats.Pages, Files: stats.Files, FilesMissing: stats.Lacking, Commits: stats.Commits, Digest: hex.EncodeToString(stats.Digest[:]),
		Vector: h.store.Vector(), Staged: stats.Staged, Regressed: stats.Regressed,
		Neighbors: h.mesh.Neighbors(),
	})
}

// apiDoctor tells what is wrong, to those who may see metrics.
func (h *Handler) apiDoctor(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.maySeeMetrics(r) {
		return errNoToken
	}
	if h.doctor == nil {
		return errNoRoute
	}
	found, err := h.doctor(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answerJSON(w, r, http.StatusOK, found)
}

func (h *Handler) healthz(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	return answerText(w, r, http.StatusOK, "ok\n")
}

func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	if ready, reason := h.ready(); !ready {
		w.Header().Set("Retry-After", "1")
		return answerText(w, r, http.StatusServiceUnavailable, "not ready: "+reason+"\n")
	}
	return answerText(w, r, http.StatusOK, "ready\n")
}
