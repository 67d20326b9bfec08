package redact

import (
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// judged is what is remembered of a name.
type judged struct {
	names.Verdict
	role names.Role
	// holds says that the name has a secret in itself, and says that any of this is so.
	holds, says bool
	// chosen says that the name looks as nobody would call a thing.
	chosen bool
	name   string
	// next is what was judged behind it the last time. Documents of one type have the same
	// names in the same order, so most often it is what is asked for next.
	next *judged
}

// verdicts remembers of names what they say: documents of one type have the
// same keys, and taking them apart is what redaction would otherwise spend its time on.
type verdicts map[string]*judged

// These bound the memory: there is no end of keys in labels.
const (
	maxVerdicts = 4096
	maxVerdict  = 128 // bytes of a key
)

// judge says what a name says of its value, and of itself.
func (d *redactor) judge(name []byte) *judged {
	if j := d.last.next; j != nil && j.name == string(name) {
		d.last = j
		return j
	}
	last := d.last
	j := d.verdicts[string(name)]
	if j == nil {
		j = d.judgeAnew(name)
	}
	if len(name) <= maxVerdict { // of others nothing is kept
		last.next, d.last = j, j
	}
	return j
}

func (d *redactor) judgeAnew(name []byte) *judged {
	j := &judged{name: string(name)}
	clean := j.name
	if d.suspicious(name) {
		clean = d.quietly(j.name)
		j.holds = clean != j.name
	}
	// It is judged by what is left of it, so that it is the same when it is seen again.
	clean = strings.ReplaceAll(clean, Mask, "")
	j.Verdict, j.role = d.Rules.judge(clean), names.RoleOf(clean)
	j.chosen = names.LooksChosen(clean)
	j.says = j.Secret || j.role != names.NoRole || j.holds
	if len(name) > maxVerdict {
		return j
	}
	if len(d.verdicts) >= maxVerdicts {
		d.forget()
	}
	d.verdicts[string(name)] = j
	return j
}

// judgePairName says what the name in a pair of name and value says. What is left of it
// may be as long as a name.
func (d *redactor) judgePairName(text []byte) *judged {
	if len(text) <= names.MaxName {
		return d.judge(text)
	}
	clean := strings.ReplaceAll(d.quietly(string(text)), Mask, "")
	if len(clean) > names.MaxName {
		return &noName
	}
	return d.judge([]byte(clean))
}

var noName judged

// forget makes room. What is forgotten leads to nothing that is kept.
func (d *redactor) forget() {
	clear(d.verdicts)
	d.last.next = nil
	d.last = new(judged)
}

// judge holds a name against the table and the operator's names.
func (r *Rules) judge(name string) names.Verdict {
	for n, key := range r.keys {
		if key.MatchString(name) {
			return names.Verdict{Secret: true, Rule: names.OwnRule + names.Rule(min(n, int(names.OwnRule)-1))}
		}
	}
	return names.Judge(name)
}
