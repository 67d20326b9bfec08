package redact

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
)

// Key makes what stands for a uid with a secret in it: the same for the same, and to
// one who does not have the key nothing to tell the uid by.
type Key [32]byte

// Of rules that were given no key.
var ownKey = newKey()

func newKey() (k Key) {
	rand.Read(k[:]) // never fails
	return k
}

// OpenKey reads the key in a file, and makes one where there is no file. The
// directory must be there.
func OpenKey(file string) (k Key, err error) {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k = newKey()
		if err := atomicfile.Write(file, []byte(hex.EncodeToString(k[:])+"\n"), 0o600); err != nil {
			return k, fmt.Errorf("writing the key for uids: %w", err)
		}
		return k, nil
	case err != nil:
		return k, fmt.Errorf("reading the key for uids: %w", err)
	}
	// What is wrong with it is not said in full: it would be part of the key.
	text := bytes.TrimSpace(data)
	if len(text) != hex.EncodedLen(len(k)) {
		text = nil
	}
	if n, err := hex.Decode(k[:], text); err != nil || n != len(k) {
		return k, fmt.Errorf("%s: is no key of %d bytes in hexadecimal; restore it, or remove it: assets whose uid has a secret in it then "+
			"get other uids", file, len(k))
	}
	return k, nil
}

// SetKey says by which key uids are replaced. Without one it is a key that is made
// when the process starts. It must not be called once the rules are in use.
func (r *Rules) SetKey(k Key) { r.key = &k }

// uidMark begins what stands for a uid.
const uidMark = "redacted-"

// UID returns a text that things are told apart by. One with a secret in it is
// replaced as a whole: what stands for it is the same each time and with each agent that has
// the key ([Rules.SetKey]), and differs where the texts do.
func (r *Rules) UID(uid string) string {
	if showsNothing(r.orBuiltin(), uid) { // most are UUIDs
		return uid
	}
	d := r.redactor()
	clean := d.text(uid)
	d.release()
	if clean == uid {
		return uid
	}
	key := &ownKey
	if r != nil && r.key != nil {
		key = r.key
	}
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(uid))
	return uidMark + hex.EncodeToString(h.Sum(nil)[:16])
}
