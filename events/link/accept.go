package link

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/erwik/erwik/storage"
)

// maxConnect bounds the CONNECT line that a dialer sends.
const maxConnect = 4 << 10

// Accept splices conn, whose far end has proven to be peer, into the server and
// returns when the link is down.
func (h *Hub) Accept(peer storage.NodeID, conn net.Conn) error {
	l := newLink(h, peer, conn, true)
	in := bufio.NewReaderSize(l.conn, maxConnect)
	pipe, err := h.server.InProcessConn()
	if err != nil {
		conn.Close()
		return fmt.Errorf("reach the link server: %w", err)
	}
	// The server speaks first: INFO. The dialer's CONNECT is replaced, so that
	// it can't say who it is: TLS has.
	conn.SetReadDeadline(time.Now().Add(handshakeTime))
	fromServer := make(chan struct{})
	go func() {
		defer close(fromServer)
		io.Copy(l.conn, pipe)
		l.fail(net.ErrClosed)
	}()
	err = readConnect(in)
	if err == nil {
		conn.SetReadDeadline(time.Time{})
		err = h.add(l)
	}
	if err != nil {
		l.conn.abort()
		pipe.Close()
		<-fromServer
		return fmt.Errorf("start NATS with %s: %w", peer, err)
	}
	to := "t." + token(peer)
	l.publish = func(frame []byte) error { return h.local.Publish(to, frame) }
	l.stop = func() { pipe.Close() }
	go l.run()
	pass := h.pass(token(peer))
	defer h.usePass(pass) // if the server never saw it
	fmt.Fprintf(pipe, "CONNECT {\"user\":%q,\"pass\":%q,\"verbose\":false,\"pedantic\":false,\"lang\":\"go\",\"protocol\":1}\r\n", token(peer), pass)
	io.Copy(pipe, in)
	l.fail(io.EOF)
	<-l.done
	<-fromServer
	return nil
}

// readConnect reads and drops the dialer's first line.
func readConnect(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read CONNECT: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("CONNECT ")) {
		return fmt.Errorf("got %.20q instead of CONNECT", line)
	}
	return nil
}
