package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
	"github.com/reeve-cloud/reeve/plugins/openstack/notify"
)

// scopeNotifications has no assets: it reads what the cloud says by itself, has
// the other scopes look, and tells of what happened.
const scopeNotifications = "notifications"

func (c *collector) notifyOptions() (notify.Options, error) {
	address, err := c.opts.broker()
	if err != nil {
		return notify.Options{}, err
	}
	tls, err := c.opts.brokerTLS()
	if err != nil {
		return notify.Options{}, err
	}
	return notify.Options{
		URL: address, TLS: tls, Exchanges: c.opts.Notifications.Exchanges, Topics: c.opts.Notifications.Topics,
		Queue: "reeve-agent", Logger: c.log,
	}, nil
}

// tryNotifications connects to the broker for a moment.
func (c *collector) tryNotifications(ctx context.Context) plugin.Check {
	check := plugin.Check{Subject: scopeNotifications}
	o, err := c.notifyOptions()
	if err != nil {
		check.Err = err
		return check
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	exchanges, err := notify.Try(ctx, o)
	check.Err, check.Detail = err, "exchanges "+strings.Join(exchanges, ", ")
	return check
}

// listen reads notifications until ctx ends or the connection breaks.
func (c *collector) listen(ctx context.Context, out plugin.Sink) error {
	o, err := c.notifyOptions()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = notify.Listen(ctx, o, func() {}, func(n notify.Notification) {
		for _, s := range n.Subjects() {
			c.alarms.ring(s.Kind, s.ID, s.Deleted)
			e, ok := eventOf(n, s)
			if !ok {
				continue
			}
			if err := out.Apply(ctx, "", plugin.Fact{Event: &e}); err != nil {
				cancel(err)
				return
			}
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// byName are kinds whose assets have a name in their uid, not the id that a
// notification tells.
var byName = map[string]bool{
	"compute/flavors": true, "compute/aggregates": true, "compute/keypairs": true, "compute/services": true, "storage/types": true,
	"identity/domains": true, "identity/regions": true, "identity/role-assignments": true,
}

// eventOf makes an event of a notification. What happens to servers is told by
// their actions, which say who did it; and ports are updated all the time.
func eventOf(n notify.Notification, s notify.Subject) (plugin.Event, bool) {
	kind := kinds.Find(s.Kind)
	if kind == nil || s.Kind == kindServers || s.ID == "" || strings.HasPrefix(n.EventType, "port.update") {
		return plugin.Event{}, false
	}
	at := n.Time
	if at.IsZero() {
		at = time.Now()
	}
	what := strings.TrimSuffix(strings.TrimPrefix(n.EventType, "identity."), ".end")
	data, err := json.Marshal(struct {
		EventType string `json:"event_type"`
		Publisher string `json:"publisher,omitempty"`
		Request   string `json:"request_id,omitempty"`
		User      string `json:"user_id,omitempty"`
		Project   string `json:"project_id,omitempty"`
		ID        string `json:"id"`
	}{n.EventType, n.Publisher, n.RequestID, n.UserID, n.ProjectID, s.ID})
	if err != nil {
		return plugin.Event{}, false
	}
	severity := plugin.Info
	if strings.EqualFold(n.Priority, "error") {
		severity = plugin.Error
	}
	subject := plugin.Key{Type: kind.Type, UID: s.ID}
	if byName[s.Kind] {
		subject = plugin.Key{}
	}
	return plugin.Event{
		ID:   kinds.EventID(n.ID, s.Kind, s.ID),
		Type: eventPrefix + strings.NewReplacer("-", "_", " ", "_").Replace(what), Subject: subject, Time: at, Severity: severity,
		Message: fmt.Sprintf("%s %s: %s", kind.Title, s.ID, strings.ReplaceAll(what, ".", " ")), Data: data,
	}, true
}
