package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

func TestEndExpired(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		since time.Duration
		code  uint64
		text  string
	}{
		{time.Hour, wire.CodeExpired, "renew it"},
		{identity.RenewalGrace - time.Hour, wire.CodeExpired, "renew it"},
		{identity.RenewalGrace + time.Hour, wire.CodeIdentity, "new join token"},
	} {
		err := endExpired(&identity.ExpiredError{End: now.Add(-test.since), Now: now})
		var e *ended
		if !errors.As(err, &e) || e.code != test.code || !strings.Contains(err.Error(), test.text) ||
			!strings.Contains(err.Error(), now.UTC().Format(time.RFC3339)) {
			t.Errorf("%v after its end: %v", test.since, err)
		}
		if len(err.Error()) > 500 {
			t.Errorf("%d characters do not fit into one packet", len(err.Error()))
		}
	}
}
