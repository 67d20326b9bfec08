package api

import (
	"errors"
	"strings"
)

// maxBearer bounds the parts of a bearer token.
const maxBearer = 128

var (
	errNoBearer        = errors.New("no bearer token: send the header \"Authorization: Bearer ID.SECRET\"")
	errMalformedBearer = errors.New("malformed Authorization header: it must be \"Bearer ID.SECRET\"")
)

// formatBearer returns a token as its user keeps it.
func formatBearer(id, secret string) string { return id + "." + secret }

// parseBearer reads the value of an Authorization header. Errors do not repeat
// it.
func parseBearer(header string) (id, secret string, err error) {
	if header == "" {
		return "", "", errNoBearer
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", "", errMalformedBearer
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(token), ".")
	if !ok || !isTokenPart(id) || !isTokenPart(secret) {
		return "", "", errMalformedBearer
	}
	return id, secret, nil
}

func isTokenPart(s string) bool {
	if s == "" || len(s) > maxBearer {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return true
}
