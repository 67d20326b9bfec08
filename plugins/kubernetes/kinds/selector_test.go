package kinds

import (
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	web := map[string]string{"app": "web", "tier": "front"}
	policy := func(selector string) string {
		return `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","spec":{` + selector + `}}`
	}
	budget := func(selector string) string {
		return `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","spec":{` + selector + `}}`
	}
	expression := func(text string) string { return budget(`"selector":{"matchExpressions":[` + text + `]}`) }
	for _, test := range []struct {
		name, document string
		labels         map[string]string
		want           bool
	}{
		{"policy", policy(`"podSelector":{"matchLabels":{"app":"web"}}`), web, true},
		{"policy for others", policy(`"podSelector":{"matchLabels":{"app":"db"}}`), web, false},
		{"policy for all", policy(`"podSelector":{}`), nil, true},
		{"policy without", policy(``), web, true},
		{"budget", budget(`"selector":{"matchLabels":{"app":"web","tier":"front"}}`), web, true},
		{"budget for some", budget(`"selector":{"matchLabels":{"app":"web","tier":"back"}}`), web, false},
		{"budget for all", budget(`"selector":{}`), web, true},
		{"budget without", budget(``), web, false},
		{"budget with null", budget(`"selector":null`), web, false},
		{"empty value", budget(`"selector":{"matchLabels":{"none":""}}`), web, false},
		{"in", expression(`{"key":"app","operator":"In","values":["db","web"]}`), web, true},
		{"not in it", expression(`{"key":"app","operator":"In","values":["db"]}`), web, false},
		{"in, without the label", expression(`{"key":"none","operator":"In","values":[""]}`), web, false},
		{"not in", expression(`{"key":"app","operator":"NotIn","values":["db"]}`), web, true},
		{"in it", expression(`{"key":"app","operator":"NotIn","values":["db","web"]}`), web, false},
		{"not in, without the label", expression(`{"key":"none","operator":"NotIn","values":["db"]}`), web, true},
		{"exists", expression(`{"key":"app","operator":"Exists"}`), web, true},
		{"exists not", expression(`{"key":"none","operator":"Exists"}`), web, false},
		{"does not exist", expression(`{"key":"none","operator":"DoesNotExist"}`), web, true},
		{"does exist", expression(`{"key":"app","operator":"DoesNotExist"}`), web, false},
		{"all must hold", expression(`{"key":"app","operator":"Exists"},{"key":"none","operator":"Exists"}`), web, false},
		{
			"labels and expressions",
			budget(`"selector":{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["front"]}]}`), web, true,
		},
	} {
		selector, ok, err := SelectorOf(parse(t, test.document))
		if err != nil || !ok {
			t.Errorf("%s: %v, %v", test.name, ok, err)
		} else if got := selector.Matches(test.labels); got != test.want {
			t.Errorf("%s: matches %v, want %v", test.name, got, test.want)
		}
	}

	if _, ok, err := SelectorOf(parse(t, `{"apiVersion":"v1","kind":"Service","spec":{"selector":{"app":"web"}}}`)); ok || err != nil {
		t.Errorf("Service: %v, %v", ok, err)
	}
	_, ok, err := SelectorOf(parse(t, expression(`{"key":"app","operator":"Near"}`)))
	if ok || err == nil || !strings.Contains(err.Error(), `"Near"`) {
		t.Errorf("unknown operator: %v, %v", ok, err)
	}
	if _, ok, err := SelectorOf(parse(t, policy(`"podSelector":5`))); ok || err == nil {
		t.Errorf("bad selector: %v, %v", ok, err)
	}
	if (Selector{}).Matches(web) {
		t.Error("the zero selector selects")
	}
}
