//go:build e2e

package e2e

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// asking is two clouds whose assets are at one centre: Kubernetes, some of whose nodes
// are servers of OpenStack.
type asking struct {
	t     *testing.T
	began time.Time
	a     *aggregator
	os    *openStack
	api   *openStackAPI
	kube  *apiServer
	// agent is that of OpenStack.
	agent *agent
	// commands are those of docs/questions.md, by their titles.
	commands map[string]string
	// moment is what the commands call $MOMENT: before anything happens, and until then now. notReady is the
	// one in what is asked of a node. cut is what stands for the 30 days of a question.
	moment, notReady, cut time.Time
	// host is the hypervisor that is disabled; the pages call it cmp-01.
	host string
	// servers are those below the nodes, by the nodes' names.
	servers map[string]string
	// then is what the clouds said before anything happened, and node what Kubernetes said
	// just before the node was not ready.
	then *clouds
	node object
}

// rows are an answer: in the order of the question where that says one, sorted
// otherwise.
type rows [][]string

// question is one of docs/questions.md.
type question struct {
	title string
	// truth is its answer, by the clouds themselves.
	truth func(c *clouds) rows
	// ordered says that the order is a part of the answer.
	ordered bool
	// none says that nothing is the right answer before anything happened, and later
	// that it is the right one only afterwards; the question comes from what happens.
	none, later bool
	// maybe says that the calendar decides whether there is an answer before.
	maybe bool
	// same says that what happens leaves the answer as it was, node that it is asked of the
	// moment at which a node was not ready any more.
	same, node bool
	// read makes rows of what the command printed; nil is CSV without its headings.
	read func(c *clouds, out []byte) (rows, error)
}

// askQuestions asks what docs/questions.md asks of Kubernetes and OpenStack, and holds
// the answers against both, before and after something happens to them.
func askQuestions(t *testing.T, cloud *openStack) {
	began := time.Now()
	q := &asking{t: t, began: began, os: cloud, commands: documentedQuestions(t)}
	for title := range q.commands {
		if !slices.ContainsFunc(questions, func(one question) bool { return one.title == title }) {
			t.Errorf("%q is documented, and not held against anything", title)
		}
	}
	q.api = q.os.api()
	lab := newKubernetes(t)
	lab.seed("-nodes", "2", "-pods", "20", "-namespaces", "3")
	q.kube = newAPIServer(t, lab.kubeconfig())
	q.prepare()
	q.collect(lab)
	t.Logf("both clouds were there after %v", time.Since(began).Round(time.Second))

	began = time.Now()
	q.cut = time.Now()
	before := q.ask("before", func(one question) bool { return !one.later })
	t.Logf("%d questions were answered within %v", len(before), time.Since(began).Round(100*time.Millisecond))

	q.happen()
	began = time.Now()
	after := q.ask("after", func(question) bool { return true })
	t.Logf("%d questions were answered within %v", len(after), time.Since(began).Round(100*time.Millisecond))
	for _, one := range questions {
		was, is := before[one.title], after[one.title]
		if one.none != (len(was) == 0) && !one.later && !one.maybe {
			t.Errorf("%q had %d rows before", one.title, len(was))
		}
		if len(is) == 0 {
			t.Errorf("%q has no answer afterwards", one.title)
		}
		if !one.later && !one.same && slices.EqualFunc(was, is, slices.Equal) {
			t.Errorf("%q has the same answer, whatever happened: %v", one.title, is)
		}
	}
}

// ask asks questions until all answers are those of the clouds, and returns them.
func (q *asking) ask(when string, of func(question) bool) map[string]rows {
	q.t.Helper()
	answers := make(map[string]rows)
	end := time.Now().Add(3 * time.Minute)
	for _, one := range questions {
		if !of(one) {
			continue
		}
		// One that is wrong does not hide the others.
		check := func() error {
			c := &clouds{asking: q}
			want := one.truth(c)
			got, err := q.answer(c, one)
			if err != nil {
				return err
			}
			// The clouds go on meanwhile.
			if again := one.truth(&clouds{asking: q}); !equalRows(one, again, want) {
				return fmt.Errorf("it changes while it is asked: %v, %v", want, again)
			}
			if !equalRows(one, got, want) {
				return fmt.Errorf("it is %v, want %v", got, want)
			}
			answers[one.title] = want
			return nil
		}
		err := check()
		for ; err != nil && time.Now().Before(end); err = check() {
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			q.t.Errorf("%s, the answer to %q: %v", when, one.title, err)
		}
	}
	return answers
}

func equalRows(one question, a, b rows) bool {
	if !one.ordered {
		for _, list := range []rows{a, b} {
			slices.SortFunc(list, slices.Compare)
		}
	}
	return slices.EqualFunc(a, b, slices.Equal)
}

// answer runs a question's commands as a shell does.
func (q *asking) answer(c *clouds, one question) (rows, error) {
	command, ok := q.commands[one.title]
	if !ok {
		q.t.Fatalf("docs/questions.md does not have %q", one.title)
	}
	read, format := one.read, " -o json"
	if read == nil {
		read, format = readCSV, " -o csv"
	}
	// The labs are younger.
	command = strings.ReplaceAll(command, "updated<-30d", "updated<"+q.cut.UTC().Format(time.RFC3339))
	command = strings.ReplaceAll(command, "cmp-01", q.host)
	moment := q.moment
	if q.then == nil {
		moment = time.Now()
	}
	if one.node {
		moment = q.notReady
	}
	env := environment(q.a.home, map[string]string{
		"REEVE_CONFIG": filepath.Join(q.a.home, "cli.yaml"), "MOMENT": moment.UTC().Format("2006-01-02T15:04:05.000Z"),
		"PATH": filepath.Dir(programs.reeve) + ":" + os.Getenv("PATH"),
	})
	out, err := run(q.a.home, env, "sh", "-e", "-c", command+format)
	if err != nil {
		return nil, err
	}
	return read(c, []byte(out))
}

// documentedQuestions reads the commands of docs/questions.md.
func documentedQuestions(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(programs.root, "docs", "questions.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := make(map[string]string)
	title := ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "### "); ok {
			title = name
		} else if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands[title] = strings.TrimPrefix(commands[title]+"\n"+command, "\n")
		}
	}
	return commands
}

func readCSV(_ *clouds, out []byte) (rows, error) {
	all, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(all) == 0 {
		return nil, fmt.Errorf("%q: %w", out, cmp.Or(err, fmt.Errorf("there are no headings")))
	}
	for _, row := range all {
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
	}
	return all[1:], nil
}

// collect starts a centre, and an agent for each cloud.
func (q *asking) collect(lab *kubernetes) {
	t := q.t
	q.a = newAggregator(t)
	q.agent = newAgent(t, "agent-openstack", "")
	clouds := filepath.Join(q.agent.home, "clouds.yaml")
	writeFile(t, clouds, fmt.Sprintf(`clouds:
  lab:
    auth: {auth_url: %q, username: %s, password: %s, project_name: %s, user_domain_name: Default, project_domain_name: Default}
`, q.os.auth(), openStackUser, openStackPassword, openStackProject))
	writeFile(t, q.agent.config, fmt.Sprintf("collectors:\n- plugin: openstack\n  name: lab\n  options: {clouds_file: %q, cloud: lab, "+
		"sweep_every: 30s, poll_every: 2s}\n  credentials: {notifications_url: %q}\n", clouds, q.os.broker()))
	kubernetes := newAgent(t, "agent-kubernetes", "")
	writeFile(t, kubernetes.config, fmt.Sprintf("collectors:\n- plugin: kubernetes\n  name: lab\n  options: {kubeconfig: %q}\n",
		lab.kubeconfig()))
	q.agent.join(q.a.joinToken("--site", "cloud"))
	kubernetes.join(q.a.joinToken("--site", "cluster"))
}

// clouds is what the clouds say, each listing read once.
type clouds struct {
	*asking
	lists map[string][]object
}

// list is a listing of OpenStack, by the end of its type.
func (c *clouds) list(typ string) []object {
	c.t.Helper()
	if c.lists[typ] != nil {
		return c.lists[typ]
	}
	for _, l := range counted {
		if l.typ != typ {
			continue
		}
		headers := map[string]string{"OpenStack-API-Version": l.version}
		all, err := c.api.list(c.api.catalog[l.service]+l.path, l.envelope, headers)
		if err != nil {
			c.t.Fatal(err)
		}
		return c.keep(typ, all)
	}
	c.t.Fatalf("there is no listing of %s", typ)
	return nil
}

func (c *clouds) keep(name string, all []object) []object {
	if c.lists == nil {
		c.lists = make(map[string][]object)
	}
	c.lists[name] = all
	return all
}

// objects are those of Kubernetes at a path.
func (c *clouds) objects(path string) []object {
	c.t.Helper()
	if c.lists[path] != nil {
		return c.lists[path]
	}
	var list struct{ Items []object }
	c.kube.read(path, &list)
	return c.keep(path, list.Items)
}

// text is what an object has at a path of keys and dots, as a text; empty for nothing.
func text(o any, path string) string {
	switch v := at(o, strings.Split(path, ".")...).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// elements are those of the array at a path.
func elements(o any, path string) []object {
	list, _ := at(o, strings.Split(path, ".")...).([]any)
	all := make([]object, 0, len(list))
	for _, e := range list {
		if e, ok := e.(object); ok {
			all = append(all, e)
		}
	}
	return all
}

// where returns the elements for which something holds.
func where(all []object, holds func(object) bool) []object {
	return slices.DeleteFunc(slices.Clone(all), func(o object) bool { return !holds(o) })
}

// ids are the texts at a path, as a set.
func ids(all []object, path string) map[string]bool {
	set := make(map[string]bool)
	for _, o := range all {
		if id := text(o, path); id != "" {
			set[id] = true
		}
	}
	return set
}

// rowsOf has a row for each element, of the texts at paths.
func rowsOf(all []object, paths ...string) rows {
	list := rows{}
	for _, o := range all {
		row := make([]string, len(paths))
		for i, path := range paths {
			row[i] = text(o, path)
		}
		list = append(list, row)
	}
	return list
}

// into reads JSON with its numbers as they are.
func into(data []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%.300s: %w", data, err)
	}
	return nil
}
