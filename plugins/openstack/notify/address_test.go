package notify

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	one := func(addr, user, password string) []host { return []host{{addr, user, password}} }
	tests := []struct {
		url  string
		want address
	}{
		{"amqp://u:p@h", address{one("h:5672", "u", "p"), "/", false}},
		{"rabbit://u:p@h:5673/", address{one("h:5673", "u", "p"), "/", false}},
		{"rabbit://u:p@h//", address{one("h:5672", "u", "p"), "/", false}},
		{"amqp://u:p@h/%2f", address{one("h:5672", "u", "p"), "/", false}},
		{"amqp://u:p@h/cloud?heartbeat=5", address{one("h:5672", "u", "p"), "cloud", false}},
		{"amqps://u:p@h/cloud", address{one("h:5671", "u", "p"), "cloud", true}},
		{"rabbit://u:p@h:5671/?ssl=1", address{one("h:5671", "u", "p"), "/", true}},
		{"rabbit://u:p%40%2F%3Aq@[::1]:5672/v", address{one("[::1]:5672", "u", "p@/:q"), "v", false}},
		{"rabbit://u:a:b@h", address{one("h:5672", "u", "a:b"), "/", false}},
		{"rabbit://u:p@h1:5672,v:q@h2:5673,h3/cloud", address{[]host{
			{"h1:5672", "u", "p"}, {"h2:5673", "v", "q"}, {"h3:5672", "v", "q"},
		}, "cloud", false}},
		{"amqps://h", address{one("h:5671", "", ""), "/", true}},
	}
	for _, test := range tests {
		got, err := parseAddress(test.url)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
		} else if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s is %+v, want %+v", test.url, got, test.want)
		}
	}
	for _, url := range []string{
		"", "h:5672", "http://u:pass@h", "amqp://", "amqp://u:pass@", "amqp://u:pass@h:0", "amqp://u:pass@h:x", "amqp://u:pa%ss@h",
		"amqp://u:pa/ss@h",
		"amqp://u:12/pa@h", "amqp://u:12?pa@h",
		"amqp://u:pass@h,,g", "amqp://u:pass@[h]:1", "amqp://u:pass@h/%zz", "amqp://u:pass@h/?a=%zz",
	} {
		_, err := parseAddress(url)
		if err == nil {
			t.Errorf("%s is taken", url)
		} else if strings.Contains(err.Error(), "pass@h") || strings.Contains(err.Error(), "u:pa") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}
