package storage

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// The SSH signature of a commit, as real git and ssh-keygen make and check it
// (OpenSSH PROTOCOL.sshsig, version 1): namespace "git", SHA-512, Ed25519.
// The armor is not canonical by itself, so one form is fixed: 70 columns.

const (
	sshsigMagic   = "SSHSIG"
	sshsigBegin   = "-----BEGIN SSH SIGNATURE-----"
	sshsigEnd     = "-----END SSH SIGNATURE-----"
	sshsigColumns = 70
)

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

// appendSigned appends what the key signs: not the commit but its SHA-512, under
// the magic and the namespace.
func appendSigned(b, payload []byte) []byte {
	sum := sha512.Sum512(payload)
	b = append(b, sshsigMagic...)
	b = appendString(b, "git")
	b = appendString(b, "")
	b = appendString(b, "sha512")
	return appendString(b, sum[:])
}

// appendBlob appends the signature's binary form; all but the last 64 bytes
// follow from the key.
func appendBlob(b []byte, key NodeID, sig *[ed25519.SignatureSize]byte) []byte {
	b = append(b, sshsigMagic...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 4+11+4+32)
	b = appendString(b, "ssh-ed25519")
	b = appendString(b, key[:])
	b = appendString(b, "git")
	b = appendString(b, "")
	b = appendString(b, "sha512")
	b = binary.BigEndian.AppendUint32(b, 4+11+4+64)
	b = appendString(b, "ssh-ed25519")
	return appendString(b, sig[:])
}

// appendSignature appends the gpgsig header with its continuation lines.
func appendSignature(dst []byte, key NodeID, sig *[ed25519.SignatureSize]byte) []byte {
	var text [260]byte
	var buf [192]byte
	blob := appendBlob(buf[:0], key, sig)
	n := base64.StdEncoding.EncodedLen(len(blob))
	base64.StdEncoding.Encode(text[:n], blob)
	dst = append(dst, "gpgsig "+sshsigBegin+"\n"...)
	for rest := text[:n]; len(rest) > 0; {
		line := rest[:min(sshsigColumns, len(rest))]
		rest = rest[len(line):]
		dst = append(dst, ' ')
		dst = append(dst, line...)
		dst = append(dst, '\n')
	}
	return append(dst, " "+sshsigEnd+"\n"...)
}

// signatureLines is how many lines appendSignature writes.
func signatureLines() int {
	var sig [ed25519.SignatureSize]byte
	return bytes.Count(appendSignature(nil, NodeID{}, &sig), []byte{'\n'})
}

// parseSignature reads the header that appendSignature wrote for key.
func parseSignature(header []byte, key NodeID) (sig [ed25519.SignatureSize]byte, err error) {
	text := bytes.ReplaceAll(header, []byte("\n "), nil)
	text, ok1 := bytes.CutPrefix(text, []byte("gpgsig "+sshsigBegin))
	text, ok2 := bytes.CutSuffix(text, []byte(sshsigEnd+"\n"))
	if !ok1 || !ok2 {
		return sig, fmt.Errorf("%w: signature armor", ErrInvalid)
	}
	blob := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(blob, text)
	if err != nil || n < len(sig) {
		return sig, fmt.Errorf("%w: signature armor: %w", ErrInvalid, err)
	}
	copy(sig[:], blob[n-len(sig):])
	if !bytes.Equal(blob[:n], appendBlob(nil, key, &sig)) {
		return sig, fmt.Errorf("%w: signature is not by the key that the log names", ErrInvalid)
	}
	return sig, nil
}
