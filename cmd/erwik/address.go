package main

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// addressName is the file in the data directory that holds the address of a node
// as its settings have it: what it advertises, else where it listens.
const addressName = "address"

// noteAddress writes it, so that "erwik token" can tell it.
func noteAddress(s *settings, listens net.Addr) error {
	path := filepath.Join(s.data, addressName)
	text := cmp.Or(s.advertise, listens.String()) + "\n"
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path) // whole or not there
}

// joinAddress is what other machines give to --join to reach the node whose data
// directory dir is, as far as that is known.
func joinAddress(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, addressName))
	if err != nil {
		return "HOST:PORT" // it has not run yet
	}
	host, port, err := net.SplitHostPort(strings.TrimSpace(string(text)))
	if err != nil {
		return "HOST:PORT"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "THIS-MACHINE:" + port
	}
	return net.JoinHostPort(host, port)
}
