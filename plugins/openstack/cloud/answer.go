package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gophercloud/gophercloud/v2"
)

// Errors of services, as far as they are told apart.
var (
	// ErrForbidden says that the credential may not do this.
	ErrForbidden = errors.New("the credential may not do this")
	// ErrNotFound says that there is no such thing, or no such API.
	ErrNotFound = errors.New("not found")
	// ErrStranger comes with ErrNotFound where the answer is not written as the
	// service writes its own: a proxy before it may have said so, and knows nothing.
	ErrStranger = errors.New("the answer is not in the service's own words: is there a proxy before it that does not reach it?")
	// ErrChanged says that the credential sees something else than before.
	ErrChanged = errors.New("the credential's project or roles have changed")
	// ErrCredential says that the credential is refused.
	ErrCredential = errors.New("the credential was refused")
	// ErrToken says that a service refuses the token that the identity service gives:
	// the credential is well, and other services may take it.
	ErrToken = errors.New("the service refuses the token, which the identity service has given: " +
		"the access rules of an application credential, or [keystone_authtoken] of the service, may be the reason")
	// ErrUnavailable says that the service does not answer, or only that it cannot.
	ErrUnavailable = errors.New("the service is not available")
	// ErrNoService says that the catalog has no such service.
	ErrNoService = errors.New("the catalog does not have this service")
	// ErrRedirect says that an answer leads to another host, to which a token does not go.
	ErrRedirect = errors.New("the answer is a redirect to another host, to which neither token nor password is sent")
)

// tokenRefused is ErrToken. Whoever only asks whether a credential was refused is
// told that it was.
type tokenRefused struct{ why error }

func (e tokenRefused) Error() string        { return ErrToken.Error() + " (" + e.why.Error() + ")" }
func (e tokenRefused) Unwrap() error        { return e.why }
func (e tokenRefused) Is(target error) bool { return target == ErrToken || target == ErrCredential }

// StatusError is an answer that is no success: its status, and what the service
// says.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Text) }

// explain turns what the client library says into words for people, and into
// the errors of this package. It leaves out what bodies of answers hold beyond
// their message.
func explain(err error) error {
	var unexpected gophercloud.ErrUnexpectedResponseCode
	var reauth *gophercloud.ErrUnableToReauthenticate
	switch {
	case errors.As(err, &reauth):
		// The one from before says no more than that the token had ended.
		return fmt.Errorf("the token has ended, and there is no new one: %w", explainLogin(reauth.ErrReauth))
	case errors.As(err, &unexpected):
		text := message(unexpected.Body)
		if text == "" {
			text = strings.ToLower(http.StatusText(unexpected.Actual))
		}
		e := &StatusError{unexpected.Actual, text}
		switch unexpected.Actual {
		case http.StatusUnauthorized:
			return tokenRefused{e}
		case http.StatusForbidden:
			return fmt.Errorf("%w (%w)", ErrForbidden, e)
		case http.StatusNotFound, http.StatusGone:
			if !own(unexpected.Body) {
				return fmt.Errorf("%w (%w); %w", ErrNotFound, e, ErrStranger)
			}
			return fmt.Errorf("%w (%w)", ErrNotFound, e)
		}
		if unexpected.Actual >= 500 || limits(unexpected.Actual) {
			return fmt.Errorf("%w (%w)", ErrUnavailable, e)
		}
		return e
	}
	var address *url.Error
	if errors.As(err, &address) && !errors.Is(err, context.Canceled) {
		if errors.Is(err, ErrRedirect) {
			return address.Err
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, address.Err)
	}
	return err
}

// explainLogin is explain for requests that log in: a refusal is the credential's.
func explainLogin(err error) error {
	err = explain(err)
	if refused, ok := errors.AsType[tokenRefused](err); ok {
		return fmt.Errorf("%w (%w)", ErrCredential, refused.why)
	}
	return err
}

// own reports whether the body of an error is one that OpenStack's services write:
// an object that has a message beside a code, a title or a type, at its top or in
// the one member that it has. A proxy writes HTML, or a text, or a message alone.
func own(body []byte) bool {
	var all map[string]jsontext.Value
	if json.Unmarshal(body, &all, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return false
	}
	return ownMembers(all, 1)
}

func ownMembers(all map[string]jsontext.Value, depth int) bool {
	has := func(names ...string) bool {
		for _, n := range names {
			if all[n] != nil {
				return true
			}
		}
		return false
	}
	switch {
	case has("faultstring", "error_message"): // Octavia, Ironic
		return true
	case has("message", "description", "detail", "explanation") && has("code", "title", "type"):
		return true
	case depth == 0:
		return false
	}
	for name, v := range all {
		var inner map[string]jsontext.Value
		switch v.Kind() {
		case '[': // Placement, Magnum: {"errors": [{"status", "title", "detail"}]}
			var list []jsontext.Value
			if json.Unmarshal(v, &list, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil || len(list) == 0 {
				continue
			}
			v = list[0]
		case '"':
			continue
		}
		if v.Kind() != '{' || json.Unmarshal(v, &inner, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
			continue
		}
		// Nova's and Cinder's faults are named: {"itemNotFound": {"message"}}.
		if ownMembers(inner, depth-1) || inner["message"] != nil && name != "data" {
			return true
		}
	}
	return false
}

// sameHost is the client's rule for redirects: it follows those that stay at the
// host that was asked, or leave plain HTTP there.
func sameHost(next *http.Request, before []*http.Request) error {
	if len(before) >= 10 {
		return errors.New("more than ten redirects")
	}
	from, to := before[len(before)-1].URL, next.URL
	same := from.Scheme == to.Scheme && hostPort(from) == hostPort(to)
	safer := from.Scheme == "http" && to.Scheme == "https" && strings.EqualFold(from.Hostname(), to.Hostname())
	if same || safer {
		return nil
	}
	return fmt.Errorf("%w: %s://%s", ErrRedirect, to.Scheme, to.Host)
}

// hostPort returns the host and port of an address.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}
