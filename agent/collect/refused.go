package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// refuse takes note of an asset that cannot be taken. Each is news once, for each
// reason: a source may say it again every few seconds. The caller holds s.mu.
func (s *sink) refuse(k plugin.Key, why string) {
	why = s.text(why)
	level := slog.LevelDebug
	if s.untaken.Refused(k, why) {
		level = slog.LevelWarn
	}
	s.logger.Log(context.Background(), level, "an asset cannot be taken; what is known of it stays", "type", k.Type, "uid", s.text(k.UID), "error", why)
}

// unread takes note of what a collector cannot read. The caller holds s.mu.
func (s *sink) unread(u plugin.Unread) {
	s.Metrics.observed(s.id.collector, "refused")
	if u.Key == (plugin.Key{}) {
		s.untaken.Unread(s.text(u.Why))
		return
	}
	s.refuse(u.Key, u.Why)
}

// tellUntaken says how much of the scope could not be taken, where that has changed. It
// returns an event where the first thing could not. The caller holds s.mu.
func (s *sink) tellUntaken() *wirev1.Record {
	now, before := s.untaken.Tally(), s.told
	if now.Count == before.Count && now.Why == before.Why {
		return nil
	}
	s.told = now
	s.holding.cannotTake(now)
	if now.Count == 0 || before.Count > 0 {
		return nil
	}
	s.logger.Warn("not all of a scope can be taken", "elements", now.Count, "error", now.Why)
	sum := sha256.Sum256(fmt.Append(nil, s.id, now.At.UnixNano()))
	return s.event(&plugin.Event{
		ID: hex.EncodeToString(sum[:16]), Type: "cloud.reeve.agent.scope.untaken", Time: time.Now(), Severity: plugin.Warning,
		Message: fmt.Sprintf("not all of %s can be taken: %s; reeve get scopes shows how much", s.id, now.Why),
	})
}
