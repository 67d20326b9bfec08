package collect

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// A uid may have a secret in it: that of a mount, the name of a key pair. It is
// replaced here, before anything is compared with what was last seen, wherever one
// stands: so an asset, the edges to it, its events and usage agree, and its deletion
// finds it, now and after a restart. Behind this nothing knows the uid that a collector
// said.

// uid returns what is recorded in the place of a text that things are told apart by.
// What was no UTF-8 is refused later on, and stays so: nobody knows what it was.
func (r *Recorder) uid(s string) string {
	uid := r.Redact.UID(s)
	if uid != s && (!utf8.ValidString(s) || strings.ContainsRune(s, '\ufffd')) {
		return "\ufffd"
	}
	return uid
}

// key returns the key that an asset of the scope is recorded by.
func (s *sink) key(k plugin.Key) plugin.Key {
	if uid := s.uid(k.UID); uid != k.UID {
		s.raw.Store(uid, k.UID)
		k.UID = uid
	}
	return k
}

// rawUID returns the uid that the collector says in the place of one that is recorded,
// as far as it has said it since the agent started.
func (s *sink) rawUID(uid string) string {
	if raw, replaced := s.raw.Load(uid); replaced {
		return raw.(string)
	}
	return uid
}

// withUIDs returns an observation with the keys that it is recorded by.
func (s *sink) withUIDs(o plugin.Observation) plugin.Observation {
	o.Key = s.key(o.Key)
	copied := false
	for n, r := range o.Relations {
		uid := s.uid(r.To.UID)
		if uid == r.To.UID {
			continue
		}
		if !copied {
			o.Relations, copied = slices.Clone(o.Relations), true
		}
		o.Relations[n].To.UID = uid
	}
	return o
}

// replaceUIDs returns facts with the keys that they are recorded by. The argument is not
// changed.
func (s *sink) replaceUIDs(facts []plugin.Fact) []plugin.Fact {
	facts = slices.Clone(facts)
	for n := range facts {
		switch f := &facts[n]; {
		case f.Upsert != nil:
			o := s.withUIDs(*f.Upsert)
			f.Upsert = &o
		case f.Delete != nil:
			k := s.key(*f.Delete)
			s.raw.Delete(k.UID)
			f.Delete = &k
		case f.Event != nil:
			e := *f.Event
			e.Subject.UID = s.uid(e.Subject.UID)
			f.Event = &e
		case f.Usage != nil:
			u := *f.Usage
			u.Subject.UID = s.uid(u.Subject.UID)
			f.Usage = &u
		}
	}
	return facts
}
