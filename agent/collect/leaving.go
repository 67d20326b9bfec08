package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// leaving counts what the configuration leaves out, over all collectors: a typing error
// in a pattern is the same to an agent as a wish.
type leaving struct {
	mu     sync.Mutex
	assets int
}

// largestPart is the part of an agent's assets, one in so many, that a configuration
// may delete without a person's word.
const largestPart = 10

// admit reports whether so many more assets of all may be deleted.
func (l *leaving) admit(assets, all int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if tooMuch(l.assets+assets, all) {
		return false
	}
	l.assets += assets
	return true
}

// Left is a scope that has assets from before and is not to be collected any more.
type Left struct {
	// Scope is "collector/scope".
	Scope  string
	Assets int
	// Unconfigured says that its collector is not configured at all.
	Unconfigured bool
}

// leavesOut reports whether the configuration of a collector leaves a scope out.
func leavesOut(c plugin.Collector, scope string) bool {
	selector, selects := c.(plugin.Selector)
	return selects && !selector.Selects(scope)
}

// LeftOut returns which of the scopes that have assets, with how many, the configured
// collectors leave out: by name, in order.
func LeftOut(sources []Source, assets map[string]int) []Left {
	collectors := make(map[string]plugin.Collector)
	for _, s := range sources {
		collectors[s.Name] = s.Collector
	}
	var list []Left
	for id, n := range assets {
		collector, scope, _ := strings.Cut(id, "/")
		c, configured := collectors[collector]
		if !configured || leavesOut(c, scope) {
			list = append(list, Left{Scope: id, Assets: n, Unconfigured: !configured})
		}
	}
	slices.SortFunc(list, func(a, b Left) int { return strings.Compare(a.Scope, b.Scope) })
	return list
}

// MustWait reports whether the deletion of the scopes waits for a person's word: it is
// of more than a tenth of all assets.
func MustWait(left []Left, assets map[string]int) bool {
	going, all := 0, 0
	for _, l := range left {
		if !l.Unconfigured {
			going += l.Assets
		}
	}
	for _, n := range assets {
		all += n
	}
	return tooMuch(going, all)
}

// tooMuch reports whether so many of all assets are more than a configuration may delete
// without a person's word.
func tooMuch(assets, all int) bool { return assets*largestPart > all }

// tellUnconfigured tells of collectors whose assets are known and that are not
// configured any more.
func (r *Runner) tellUnconfigured() {
	counts, err := r.Recorder.Seen.Counts()
	if err != nil {
		r.Recorder.Logger.Error("looking for collectors from before", "error", err)
		return
	}
	gone := make(map[string]int)
	for _, l := range LeftOut(r.Sources, counts) {
		if l.Unconfigured {
			collector, _, _ := strings.Cut(l.Scope, "/")
			gone[collector] += l.Assets
		}
	}
	for collector, n := range gone {
		r.Recorder.Logger.Warn("a collector is not configured any more: its assets stay, as DISCONNECTED, until its scopes are ended "+
			"(reeve get scopes, reeve scope end) or it is configured again", "collector", collector, "assets", n)
	}
}

// lookForOrphans looks for scopes that have assets from before and are not in the list
// that a collector has published first. c.mu is held.
func (c *collectorRun) lookForOrphans(ctx context.Context, list []plugin.Scope, listed map[string]bool) error {
	counts, err := c.recorder.Seen.Counts()
	if err != nil {
		return err
	}
	all := 0
	for _, n := range counts {
		all += n
	}
	left, going := []string(nil), 0
	for id, n := range counts {
		name, mine := strings.CutPrefix(id, c.Name+"/")
		switch {
		case !mine || listed[name]:
		case isLocalTo(name, list):
			c.logger.Warn("this machine is another than the one that was collected before: the assets of that one stay, as DISCONNECTED, until "+
				"their scope is ended (reeve scope end)", "scope", name, "assets", n)
			c.recorder.release(id)
			if err := c.recorder.Seen.ForgetScope(id); err != nil {
				return err
			}
		case leavesOut(c.Collector, name):
			left, going = append(left, name), going+n
		default:
			c.logger.Info("a scope from before is gone", "scope", name)
			c.start(ctx, plugin.Scope{Name: name}, true)
		}
	}
	// Of what has nothing there is nothing to find out.
	known, err := c.recorder.Seen.AllScopes()
	if err != nil {
		return err
	}
	for _, id := range known {
		if name, mine := strings.CutPrefix(id, c.Name+"/"); mine && !listed[name] && counts[id] == 0 {
			c.recorder.release(id)
			if err := c.recorder.Seen.ForgetScope(id); err != nil {
				return err
			}
		}
	}
	slices.Sort(left)
	switch {
	case len(left) == 0:
	case c.leaving.admit(going, all):
		c.logger.Warn("the configuration leaves scopes out that were collected before: their assets become DELETED",
			"scopes", len(left), "first", left[0], "assets", going, "of", all)
		for _, name := range left {
			c.start(ctx, plugin.Scope{Name: name}, true)
		}
	default:
		c.logger.Error("the configuration leaves scopes out that were collected before, with a large part of all assets: is that meant? "+
			"They stay, as DISCONNECTED, until their scopes are ended (reeve get scopes, reeve scope end) or collected again",
			"scopes", len(left), "first", left[0], "assets", going, "of", all)
		for _, name := range left {
			c.recorder.release(scopeID{c.Name, name}.String())
		}
	}
	return nil
}

// isLocalTo reports whether a name is that of a listed scope on another machine.
func isLocalTo(name string, list []plugin.Scope) bool {
	i := strings.LastIndexByte(name, '@')
	return i > 0 && slices.ContainsFunc(list, func(s plugin.Scope) bool { return s.Local != "" && s.Name == name[:i] })
}

// WriteCounts writes how many assets each scope has into a file, for who looks at the
// configuration while the agent runs (ReadCounts): the store itself has one reader.
func (r *Recorder) WriteCounts(file string) error {
	counts, err := r.Seen.Counts()
	if err != nil {
		return err
	}
	data, err := json.Marshal(counts)
	if err != nil {
		return fmt.Errorf("encoding the counts of scopes: %w", err)
	}
	if err := atomicfile.Write(file, data, 0o600); err != nil {
		return fmt.Errorf("writing the counts of scopes: %w", err)
	}
	return nil
}

// ReadCounts reads what WriteCounts wrote: nothing where there is no such file.
func ReadCounts(file string) (map[string]int, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var counts map[string]int
	if err == nil {
		err = json.Unmarshal(data, &counts)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the counts of scopes: %w", err)
	}
	return counts, nil
}
