package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"sync"
	"time"
)

// asked is a line of what create and delete print.
type asked struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	AskedAt time.Time `json:"asked_at"`
	Asked   time.Time `json:"asked"` // the same
}

var printing sync.Mutex

func printAsked(id, name string, at time.Time) {
	printing.Lock()
	defer printing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(asked{id, name, at, at})
}

// create makes servers one by one. Each is printed as soon as the answer has its
// id; the time is that before it was asked for.
func create(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("create", flag.ExitOnError)
	n := fs.Int("servers", 1, "how many")
	prefix := fs.String("prefix", "extra", "what their names begin with")
	project := fs.String("project", projectName(0), "in which of the seeded projects")
	nics := fs.Int("nics", 0, "how many ports each has in the project's network: 0 or 1")
	pause := fs.Duration("every", 0, "how long after one the next is asked for, at least")
	_ = fs.Parse(args)

	c, err := login(ctx, *project+"-ops", tenantPassword, *project)
	if err != nil {
		return fmt.Errorf("logging in to %s, which the seeder makes: %w", *project, err)
	}
	images, err := list(ctx, c.image, "images?name=debian-12")
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return errors.New("there is no image debian-12; seed the cloud first")
	}
	body := obj{"flavorRef": "lab-m1.small", "imageRef": id(images[0]), "networks": "none"}
	if *nics > 0 {
		networks, err := list(ctx, c.network, "networks?name="+*project+"-net")
		if err != nil {
			return err
		}
		if len(networks) == 0 {
			return fmt.Errorf("there is no network %s-net", *project)
		}
		body["networks"] = []obj{{"uuid": id(networks[0])}}
	}
	for i := range *n {
		body["name"] = fmt.Sprintf("%s-%04d", *prefix, i)
		at := time.Now().UTC()
		made, err := call(ctx, c.compute, "POST", "servers", obj{"server": body})
		if err != nil {
			return err
		}
		printAsked(id(made), body["name"].(string), at)
		if rest := *pause - time.Since(at); rest > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(rest):
			}
		}
	}
	return nil
}

// isCopy knows a copy that openstack-multiply.sh has made: nothing is behind it.
var isCopy = regexp.MustCompile(`-c[0-9]+$`)

// remove deletes servers, the newest first, and prints which.
func remove(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("delete", flag.ExitOnError)
	n := fs.Int("n", 1, "how many servers")
	prefix := fs.String("prefix", "", "only those whose names begin so")
	parallel := fs.Int("parallel", 6, "requests at a time")
	project := fs.String("project", "", "only in this project")
	_ = fs.Parse(args)

	c, err := login(ctx, "", "", "")
	if err != nil {
		return err
	}
	query := url.Values{}
	if *project != "" {
		projects, err := list(ctx, c.identity, "projects?name="+url.QueryEscape(*project))
		if err != nil {
			return err
		}
		if len(projects) == 0 {
			return fmt.Errorf("there is no project %s", *project)
		}
		query.Set("project_id", id(projects[0]))
	}
	servers, err := newest(ctx, c, *n, *prefix, query)
	if err != nil {
		return err
	}
	return each(ctx, *parallel, len(servers), func(i int) error {
		s := servers[i]
		at := time.Now().UTC()
		if _, err := call(ctx, c.compute, "DELETE", "servers/"+id(s), nil); err != nil {
			return err
		}
		printAsked(id(s), s["name"].(string), at)
		return nil
	})
}

// newest returns the n newest servers whose names begin so. Copies are none of them,
// nor are locked ones, which refuse to be deleted.
func newest(ctx context.Context, c *cloud, n int, prefix string, query url.Values) ([]obj, error) {
	for k, v := range map[string]string{"all_tenants": "1", "limit": "1000", "sort_key": "created_at", "sort_dir": "desc", "locked": "false"} {
		query.Set(k, v)
	}
	if prefix != "" {
		query.Set("name", "^"+regexp.QuoteMeta(prefix))
	}
	var servers []obj
	for {
		page, err := list(ctx, c.compute, "servers?"+query.Encode())
		if err != nil {
			return nil, err
		}
		for _, s := range page {
			if isCopy.MatchString(s["name"].(string)) {
				continue
			}
			if servers = append(servers, s); len(servers) == n {
				return servers, nil
			}
		}
		if len(page) < 1000 {
			return nil, fmt.Errorf("there are only %d such servers", len(servers))
		}
		query.Set("marker", id(page[len(page)-1]))
	}
}

// touch renames servers, the newest first, and prints which.
func touch(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("touch", flag.ExitOnError)
	n := fs.Int("n", 1, "how many servers")
	prefix := fs.String("prefix", "", "only those whose names begin so")
	parallel := fs.Int("parallel", 6, "requests at a time")
	_ = fs.Parse(args)

	c, err := login(ctx, "", "", "")
	if err != nil {
		return err
	}
	servers, err := newest(ctx, c, *n, *prefix, url.Values{})
	if err != nil {
		return err
	}
	return each(ctx, *parallel, len(servers), func(i int) error {
		// A name keeps its beginning, and does not grow with each touch.
		name := touched.ReplaceAllString(servers[i]["name"].(string), "") + fmt.Sprintf("-t%d", time.Now().UnixMilli())
		at := time.Now().UTC()
		if _, err := call(ctx, c.compute, "PUT", "servers/"+id(servers[i]), obj{"server": obj{"name": name}}); err != nil {
			return err
		}
		printAsked(id(servers[i]), name, at)
		return nil
	})
}

var touched = regexp.MustCompile(`-t[0-9]{13}$`)
