package kinds

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// custom reads an object of a kind that is not known: custom resources mostly,
// whose status follows some convention or none.
func (r *reader) custom() error {
	var c struct {
		Status lenient[conventions] `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	r.state(c.Status.value.word())
	return nil
}

// lenient is a value of a shape that it need not have. It stays zero where the
// document has another one.
type lenient[T any] struct{ value T }

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (l *lenient[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	var value T
	if json.Unmarshal(raw, &value, dec.Options()) == nil {
		l.value = value
	}
	return nil
}

// conventions are the fields by which kinds tell their state.
type conventions struct {
	Phase lenient[string] `json:"phase"`
	State lenient[string] `json:"state"`
	// PrintableStatus is KubeVirt's.
	PrintableStatus lenient[string]       `json:"printableStatus"`
	Conditions      lenient[[]convention] `json:"conditions"`
}

// convention is a condition of which only the outcome matters.
type convention struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

// telling are the conditions that say how an object is, the most telling first.
var telling = []string{"Ready", "Available", "Healthy", "Established", "Programmed", "Accepted", "Synced"}

// longestWord is the most bytes of a status. Longer texts are messages.
const longestWord = 63

// word is the state in one word: what the object calls it, or else the most
// telling condition. Of a condition that is not true it is NotReady, as kubectl
// says it of nodes.
func (c *conventions) word() string {
	for _, word := range []string{c.Phase.value, c.State.value, c.PrintableStatus.value} {
		if word != "" && len(word) <= longestWord {
			return word
		}
	}
	for _, typ := range telling {
		for _, condition := range c.Conditions.value {
			if condition.Type != typ {
				continue
			}
			switch condition.Status {
			case "True":
				return typ
			case "False":
				return "Not" + typ
			}
			return "Unknown"
		}
	}
	return ""
}
