package cluster

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
)

// MinSecret is the shortest shared secret, in bytes: a short one could be
// guessed from the proof.
const MinSecret = 16

const (
	tokenPrefix = "erw1"
	tokensName  = "tokens.json"
	maxTokens   = 1000 // older ones are forgotten
)

// Token lets one node prove to another that it may join.
type Token struct {
	Node   storage.NodeID // whom the secret may be shown to; zero: any
	Secret string
}

// String is the text that `erwik token` prints.
func (t Token) String() string { return tokenPrefix + "." + t.Node.String() + "." + t.Secret }

// ParseToken reads what String wrote; anything else is taken as a shared
// secret.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if rest, found := strings.CutPrefix(text, tokenPrefix+"."); found {
		node, secret, found := strings.Cut(rest, ".")
		id, err := storage.ParseNodeID(node)
		if err != nil || !found || len(secret) < MinSecret {
			return Token{}, errors.New("cluster: the token is damaged; copy the whole line that `erwik token` printed")
		}
		return Token{Node: id, Secret: secret}, nil
	}
	if len(text) < MinSecret {
		return Token{}, fmt.Errorf("cluster: a secret of %d bytes is too short; use at least %d", len(text), MinSecret)
	}
	return Token{Secret: text}, nil
}

type issued struct {
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires"`
}

// IssueToken makes a token for the node whose key is in dir and notes it
// there, where the running node finds it.
func IssueToken(dir string, node storage.NodeID, ttl time.Duration, now time.Time) (Token, error) {
	lock, err := os.OpenFile(filepath.Join(dir, tokensName+".lock"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return Token{}, fmt.Errorf("write tokens: %w", err)
	}
	defer lock.Close()
	if err := lockFile(lock); err != nil {
		return Token{}, fmt.Errorf("write tokens: lock: %w", err)
	}
	all, err := readTokens(dir)
	if err != nil {
		return Token{}, err
	}
	kept := all[:0]
	for _, t := range all {
		if now.Before(t.Expires) {
			kept = append(kept, t)
		}
	}
	if len(kept) >= maxTokens {
		kept = kept[len(kept)-maxTokens+1:]
	}
	token := Token{Node: node, Secret: strings.ToLower(rand.Text())}
	kept = append(kept, issued{token.Secret, now.Add(ttl).UTC()})
	text, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return Token{}, fmt.Errorf("write tokens: %w", err)
	}
	path := filepath.Join(dir, tokensName)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return Token{}, fmt.Errorf("write tokens: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return Token{}, fmt.Errorf("write tokens: %w", err)
	}
	return token, nil
}

func readTokens(dir string) ([]issued, error) {
	path := filepath.Join(dir, tokensName)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	var all []issued
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read tokens: %s: %w", path, err)
	}
	return all, nil
}

var (
	errNoSecret     = errors.New("this node takes no joins: it has no secret and no valid token. Make one: erwik token --data DIR")
	errWrongSecret  = errors.New("the token or secret is wrong, or made by another node. Make a new one on the node you join: erwik token --data DIR")
	errExpiredToken = errors.New("the token has expired. Make a new one on the node you join: erwik token --data DIR")
)

// matchSecret finds the secret with which proof was made.
func (n *Node) matchSecret(proof []byte, role string, exporter []byte) (string, error) {
	result := errNoSecret
	if s := n.cfg.Secret; s != "" {
		if subtle.ConstantTimeCompare(proof, joinProof(s, role, exporter)) == 1 {
			return s, nil
		}
		result = errWrongSecret
	}
	tokens, err := readTokens(n.cfg.Dir)
	if err != nil {
		n.log.Error("tokens", "err", err)
	}
	for _, t := range tokens {
		result = errWrongSecret
		if subtle.ConstantTimeCompare(proof, joinProof(t.Secret, role, exporter)) != 1 {
			continue
		}
		if time.Now().After(t.Expires) {
			return "", errExpiredToken
		}
		return t.Secret, nil
	}
	return "", result
}
