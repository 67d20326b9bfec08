package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Notification is one happening that a service tells of.
type Notification struct {
	// ID is the message's own.
	ID string
	// EventType is what happened: "compute.instance.create.end",
	// "instance.create.end", "port.create.end".
	EventType string
	// Publisher is who tells of it: "compute.cmp-02", "nova-compute:cmp-02".
	Publisher string
	// Priority is "INFO" or "ERROR", and seldom another.
	Priority string
	// Versioned says that the payload is a versioned object of Nova or Ironic,
	// whose members are in its nova_object.data.
	Versioned bool
	// Time is when the service told of it, or zero where it cannot be read.
	Time time.Time
	// RequestID, UserID and ProjectID are those of the request that was the
	// cause, where the service says. Glance never does.
	RequestID, UserID, ProjectID string
	// Payload is what the service says of it: nearly always an object. What
	// holds secrets is taken out.
	Payload json.RawMessage
}

// lenient is how the services' JSON is read.
var lenient = jsonv2.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// text is a string, or empty where something else is said.
type text string

// UnmarshalJSONFrom implements [jsonv2.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '"' {
		*t = ""
		return d.SkipValue()
	}
	token, err := d.ReadToken()
	if err == nil {
		*t = text(token.String())
	}
	return err
}

// or returns the first of several texts that is not empty.
func or(texts ...text) string {
	for _, t := range texts {
		if t != "" {
			return string(t)
		}
	}
	return ""
}

// Parse reads the body of a message: a notification in JSON, by itself (driver
// messaging) or as a string in an envelope (driver messagingv2).
func Parse(body []byte) (Notification, error) {
	var envelope struct {
		Version text  `json:"oslo.version"`
		Message *text `json:"oslo.message"`
	}
	if err := jsonv2.Unmarshal(body, &envelope, lenient); err != nil {
		return Notification{}, fmt.Errorf("read the envelope: %w", err)
	}
	if envelope.Message != nil {
		if v := string(envelope.Version); v != "" && !strings.HasPrefix(v, "2.") {
			return Notification{}, fmt.Errorf("an envelope of version %.20q is not known", v)
		}
		body = []byte(*envelope.Message)
	}
	var m struct {
		ID        text           `json:"message_id"`
		EventType text           `json:"event_type"`
		Publisher text           `json:"publisher_id"`
		Priority  text           `json:"priority"`
		Timestamp text           `json:"timestamp"`
		Payload   jsontext.Value `json:"payload"`

		Request text `json:"_context_request_id"`
		User    text `json:"_context_user_id"`
		User1   text `json:"_context_user"`
		Project text `json:"_context_project_id"`
		Tenant  text `json:"_context_tenant"`
		Tenant1 text `json:"_context_tenant_id"`
	}
	if err := jsonv2.Unmarshal(body, &m, lenient); err != nil {
		return Notification{}, fmt.Errorf("read the notification: %w", err)
	}
	if m.EventType == "" {
		return Notification{}, errors.New("it has no event_type")
	}
	n := Notification{
		ID: string(m.ID), EventType: string(m.EventType), Publisher: string(m.Publisher), Priority: strings.ToUpper(string(m.Priority)),
		Time: parseTime(string(m.Timestamp)), RequestID: string(m.Request), UserID: or(m.User, m.User1),
		ProjectID: or(m.Project, m.Tenant, m.Tenant1),
	}
	payload, err := withoutSecrets(m.Payload)
	if err != nil {
		return Notification{}, fmt.Errorf("read the payload: %w", err)
	}
	n.Payload = json.RawMessage(payload)
	if len(payload) == 0 || payload.Kind() != '{' {
		return n, nil
	}
	// Keystone sends no context: what it says is in the payload.
	var p struct {
		Nova      jsontext.Value `json:"nova_object.data"`
		Ironic    jsontext.Value `json:"ironic_object.data"`
		Request   text           `json:"request_id"`
		Initiator cadfInitiator  `json:"initiator"`
	}
	if err := jsonv2.Unmarshal(payload, &p, lenient); err != nil {
		return Notification{}, fmt.Errorf("read the payload: %w", err)
	}
	n.Versioned = p.Nova != nil || p.Ironic != nil
	if n.RequestID == "" {
		n.RequestID = or(p.Request, p.Initiator.Request)
	}
	if n.UserID == "" {
		n.UserID = or(p.Initiator.User, p.Initiator.ID)
	}
	if n.ProjectID == "" {
		n.ProjectID = or(p.Initiator.Project)
	}
	return n, nil
}

// cadfInitiator is who did something, as Keystone says it in the format cadf.
type cadfInitiator struct {
	ID, User, Project, Request text
}

// UnmarshalJSONFrom implements [jsonv2.UnmarshalerFrom].
func (c *cadfInitiator) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	var v struct {
		ID      text `json:"id"`
		User    text `json:"user_id"`
		Project text `json:"project_id"`
		Request text `json:"request_id"`
	}
	err := jsonv2.UnmarshalDecode(d, &v, lenient)
	*c = cadfInitiator{ID: v.ID, User: v.User, Project: v.Project, Request: v.Request}
	return err
}

// parseTime reads a time as services write them. It is UTC where no zone is said.
func parseTime(s string) time.Time {
	for _, layout := range []string{
		"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// secret reports whether a member of this name is taken out. Nova puts whole
// contexts with tokens into payloads of failures, and Cinder what it takes to
// attach a volume into those of attachments.
func secret(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "_context", "connection_info", "connector", "user_data", "injected_files", "personality", "service_catalog":
		return true
	}
	for _, part := range []string{"token", "password", "passwd", "secret", "admin_pass", "adminpass", "private_key"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// withoutSecrets copies a value without the members that may hold secrets.
func withoutSecrets(v jsontext.Value) (jsontext.Value, error) {
	if len(v) == 0 {
		return nil, nil
	}
	in := jsontext.NewDecoder(bytes.NewReader(v), lenient)
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out, lenient)
	for {
		token, err := in.ReadToken()
		if errors.Is(err, io.EOF) {
			return bytes.TrimSpace(out.Bytes()), nil
		}
		if err != nil {
			return nil, err
		}
		if kind, length := in.StackIndex(in.StackDepth()); kind == '{' && length%2 == 1 && token.Kind() == '"' && secret(token.String()) {
			if err := in.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		if err := enc.WriteToken(token); err != nil {
			return nil, err
		}
	}
}
