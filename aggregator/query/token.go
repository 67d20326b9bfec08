package query

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// A page token is where the next page begins: a version, a hash of what the list is, and
// the key of the last row, as JSON: for each part of the order whether it has no value, and
// the value.
const (
	tokenVersion = 3
	tokenHash    = 12
	tokenHeader  = 1 + tokenHash
	// maxToken has room for the longest values that anything is sorted by.
	maxToken = 64 << 10
)

var tokenEncoding = base64.RawURLEncoding.Strict()

// EncodeToken returns the token of the page behind a key, of a list that binding tells from others.
func EncodeToken(binding string, key []any) string {
	text, err := json.Marshal(key)
	if err != nil {
		panic(fmt.Sprintf("a key of texts and booleans: %v", err))
	}
	sum := sha256.Sum256([]byte(binding))
	return tokenEncoding.EncodeToString(append(append([]byte{tokenVersion}, sum[:tokenHash]...), text...))
}

// DecodeToken returns the key of a token: nil of the empty one, which is the first page's.
func DecodeToken(token, binding string, parts int) ([]any, error) {
	if token == "" {
		return nil, nil
	}
	bad := func() ([]any, error) { return nil, wrong("page_token", "%w", ErrToken) }
	if len(token) > maxToken {
		return bad()
	}
	data, err := tokenEncoding.DecodeString(token)
	if err != nil || len(data) <= tokenHeader || data[0] != tokenVersion {
		return bad()
	}
	if sum := sha256.Sum256([]byte(binding)); !bytes.Equal(sum[:tokenHash], data[1:tokenHeader]) {
		return nil, wrong("page_token", "it belongs to a list with another filter, order or moment: begin again without it")
	}
	var key []any
	if err := json.Unmarshal(data[tokenHeader:], &key); err != nil || len(key) != 2*parts {
		return bad()
	}
	for i, v := range key {
		_, isBool := v.(bool)
		_, isText := v.(string)
		if i%2 == 0 && !isBool || i%2 == 1 && !isText {
			return bad()
		}
	}
	return key, nil
}
