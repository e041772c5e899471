package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erwik/erwik/cluster"
	"github.com/erwik/erwik/storage"
)

// settings are those of serve.
type settings struct {
	listen, advertise, data, name, site string
	tlsCert, tlsKey                     string
	join                                []string
	token, secret, secretFile           string
	editTokenFile, editToken            string
	logFormat, logLevel                 string
	drain                               time.Duration
	config                              string
	connectionsFrom                     int
	proxies                             []string

	dial func(ctx context.Context, address string) (net.Conn, error) // nil: TCP
}

func (s *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.listen, "listen", ":8000", "address to listen on; port 0 chooses one")
	f.StringVar(&s.advertise, "advertise", "", "HOST:PORT that other nodes dial (default: found out)")
	f.StringVar(&s.data, "data", "", "data directory (default: "+defaultData(os.Getenv)+")")
	f.StringVar(&s.name, "name", "", "name of this node (default: the machine's)")
	f.StringVar(&s.site, "site", "", "name of the wiki")
	f.StringArrayVar(&s.join, "join", nil, "HOST:PORT of a node to join; may be given again, and may stay after the join")
	f.StringVar(&s.token, "token", "", "what \"erwik token\" printed on the node to join")
	f.StringVar(&s.secretFile, "secret-file", "", "file with the secret that all nodes share (or ERWIK_SECRET)")
	f.StringVar(&s.tlsCert, "tls-cert", "", "certificate for HTTPS")
	f.StringVar(&s.tlsKey, "tls-key", "", "key of the certificate")
	f.StringVar(&s.editTokenFile, "edit-token-file", "", "file with a token that whoever edits must know")
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.DurationVar(&s.drain, "drain", 10*time.Second, "how long to finish requests after SIGTERM")
	f.IntVar(&s.connectionsFrom, "connections-from", cluster.DefaultConnectionsFrom, "connections that one address may have open, those of the mesh not counted; 0 = no limit")
	f.StringArrayVar(&s.proxies, "proxy", nil, "address of a proxy in front of this node, to which no limit for one address applies; may be given again")
	f.StringVar(&s.config, "config", "", "file with settings: names of flags, as TOML")
}

// fill takes from the environment, then from the file, what the command line
// left out.
func (s *settings) fill(c *cobra.Command, getenv func(string) string) error {
	if s.config == "" {
		s.config = getenv("ERWIK_CONFIG")
	}
	file := map[string]any{}
	if s.config != "" {
		if _, err := toml.DecodeFile(s.config, &file); err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
		for key := range file {
			if f := c.Flags().Lookup(key); (f == nil || key == "config") && key != "secret" {
				return usageError{fmt.Errorf("%s: unknown key %q; keys are the names of flags", s.config, key)}
			}
		}
	}
	var failed error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil {
			return
		}
		name := "ERWIK_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := getenv(name); v != "" {
			failed = setFlag(f, name, strings.FieldsFunc(v, func(r rune) bool { return (f.Name == "join" || f.Name == "proxy") && (r == ',' || r == ' ') }))
		} else if v, found := file[f.Name]; found {
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			var texts []string
			for _, item := range list {
				texts = append(texts, fmt.Sprint(item))
			}
			failed = setFlag(f, s.config+": "+f.Name, texts)
		}
	})
	if failed != nil {
		return failed
	}
	if s.data == "" {
		s.data = defaultData(getenv)
	}
	if s.name == "" {
		s.name = hostName()
	}
	if err := s.check(); err != nil {
		return usageError{err}
	}
	return s.secrets(getenv, file)
}

// check refuses what can't be meant.
func (s *settings) check() error {
	if _, port, err := net.SplitHostPort(s.listen); err != nil || !isPort(port) && port != "0" {
		return fmt.Errorf("--listen %q: want HOST:PORT or :PORT; port 0 chooses one", s.listen)
	}
	if storage.CheckText(s.name) != nil {
		return fmt.Errorf("--name %q: want at most %d bytes of UTF-8 without control characters, < or >, and no space at either end", s.name, storage.MaxIdent)
	}
	if s.advertise != "" && !canBeDialed(s.advertise) {
		return fmt.Errorf("--advertise %q: want HOST:PORT, as other nodes dial it", s.advertise)
	}
	for _, address := range s.join {
		if !canBeDialed(address) {
			return fmt.Errorf("--join %q: want HOST:PORT of a node, such as e1:8000", address)
		}
	}
	if s.token != "" {
		// What is no token would be taken for a secret, and be tried for ever.
		if token, err := cluster.ParseToken(s.token); err != nil || token.Node == (storage.NodeID{}) {
			return errors.New("--token: this is no token; copy the whole line that \"erwik token\" printed (erw1.…). A secret is given by --secret-file or ERWIK_SECRET")
		}
	}
	if s.tlsCert != "" && s.tlsKey == "" {
		return errors.New("--tls-cert needs --tls-key, the key of the certificate")
	}
	if s.tlsKey != "" && s.tlsCert == "" {
		return errors.New("--tls-key needs --tls-cert, the certificate")
	}
	if s.drain < 0 {
		return fmt.Errorf("--drain %s: want 0 or more", s.drain)
	}
	if s.connectionsFrom < 0 {
		return fmt.Errorf("--connections-from %d: want a number, or 0 for no limit", s.connectionsFrom)
	}
	for _, p := range s.proxies {
		if net.ParseIP(p) == nil {
			return fmt.Errorf("--proxy %q: want an IP address", p)
		}
	}
	return nil
}

// canBeDialed reports whether address has the form HOST:PORT.
func canBeDialed(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && host != "" && !strings.ContainsAny(host, " /") && isPort(port)
}

// isPort reports whether text is a port, by number or by name.
func isPort(text string) bool {
	n, err := net.LookupPort("tcp", text)
	return err == nil && n > 0
}

// trusted tells the addresses that stand for many people, or for the operator.
func (s *settings) trusted() func(host string) bool {
	proxies := make(map[string]bool)
	for _, p := range s.proxies {
		proxies[net.ParseIP(p).String()] = true
	}
	return func(host string) bool {
		if cluster.Loopback(host) {
			return true
		}
		if len(proxies) == 0 {
			return false
		}
		ip := net.ParseIP(host)
		return ip != nil && proxies[ip.String()]
	}
}

func setFlag(f *pflag.Flag, origin string, values []string) error {
	for _, v := range values {
		if err := f.Value.Set(v); err != nil {
			return usageError{fmt.Errorf("%s: %w", origin, err)}
		}
	}
	return nil
}

func (s *settings) secrets(getenv func(string) string, file map[string]any) error {
	if s.secret = getenv("ERWIK_SECRET"); s.secret == "" {
		if v, ok := file["secret"].(string); ok {
			s.secret = v
		}
	}
	if s.secretFile != "" {
		text, err := os.ReadFile(s.secretFile)
		if err != nil {
			return fmt.Errorf("read the secret: %w", err)
		}
		s.secret = string(text)
	}
	if s.secret = strings.TrimSpace(s.secret); s.secret != "" && len(s.secret) < cluster.MinSecret {
		return usageError{fmt.Errorf("the secret has %d bytes; use at least %d, such as: head -c 24 /dev/urandom | base64", len(s.secret), cluster.MinSecret)}
	}
	if s.editTokenFile != "" {
		text, err := os.ReadFile(s.editTokenFile)
		if err != nil {
			return fmt.Errorf("read the edit token: %w", err)
		}
		if s.editToken = strings.TrimSpace(string(text)); s.editToken == "" {
			return fmt.Errorf("the edit token in %s is empty", s.editTokenFile)
		}
	}
	return nil
}

// joinToken is how this node proves itself to those that it joins.
func (s *settings) joinToken() (cluster.Token, error) {
	text := s.token
	if text == "" {
		text = s.secret
	}
	if len(s.join) == 0 {
		return cluster.Token{}, nil
	}
	if text == "" {
		return cluster.Token{}, usageError{fmt.Errorf("--join needs --token or a secret. Get a token on a node of the mesh: erwik token --data DIR")}
	}
	return cluster.ParseToken(text)
}

func defaultData(getenv func(string) string) string {
	if d := getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "erwik")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "erwik")
	}
	return "erwik-data"
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	name, _, _ = strings.Cut(name, ".")
	return name[:min(len(name), 60)]
}

// shown is the address as people and other programs can use it.
func shown(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
