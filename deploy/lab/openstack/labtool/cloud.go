package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
)

// cloud is one login: a project-scoped token and the services behind it.
type cloud struct {
	provider                                           *gophercloud.ProviderClient
	identity, compute, image, network, volume, balance *gophercloud.ServiceClient
}

// login uses the OS_* environment, with user, password and project replaced
// where given.
func login(ctx context.Context, user, password, project string) (*cloud, error) {
	ao, err := openstack.AuthOptionsFromEnv()
	if err != nil {
		return nil, err
	}
	ao.AllowReauth = true
	if user != "" {
		ao.Username, ao.Password, ao.TenantName = user, password, project
	}
	p, err := openstack.NewClient(ao.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	p.HTTPClient = http.Client{
		Timeout: 5 * time.Minute,
		// A service that closes a connection while a request is on its way makes an error of it.
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	// A busy Keystone drops a connection now and then.
	for try := 1; ; try++ {
		err := openstack.Authenticate(ctx, p, ao)
		if err == nil {
			break
		}
		if try == 3 || !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	c := &cloud{provider: p}
	eo := gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")}
	if c.identity, err = openstack.NewIdentityV3(p, eo); err != nil {
		return nil, err
	}
	if c.compute, err = openstack.NewComputeV2(p, eo); err != nil {
		return nil, err
	}
	c.compute.Microversion = "2.79"
	if c.image, err = openstack.NewImageV2(p, eo); err != nil {
		return nil, err
	}
	if c.network, err = openstack.NewNetworkV2(p, eo); err != nil {
		return nil, err
	}
	// The optional services.
	if c.volume, err = openstack.NewBlockStorageV3(p, eo); err != nil {
		c.volume = nil
	} else {
		c.volume.MoreHeaders = map[string]string{"OpenStack-API-Version": "volume 3.60"}
	}
	if c.balance, err = openstack.NewLoadBalancerV2(p, eo); err != nil {
		c.balance = nil
	}
	return c, nil
}

type obj = map[string]any

// id is the object's id.
func id(o obj) string {
	s, _ := o["id"].(string)
	return s
}

var errConflict = errors.New("conflict")

// call does one JSON request and returns the object inside its envelope.
func call(ctx context.Context, sc *gophercloud.ServiceClient, method, path string, body any) (obj, error) {
	var out obj
	opts := &gophercloud.RequestOpts{
		OkCodes: []int{200, 201, 202, 204, 409}, MoreHeaders: sc.MoreHeaders, KeepResponseBody: true,
	}
	if body != nil {
		opts.JSONBody = body
	}
	resp, err := sc.Request(ctx, method, sc.ServiceURL(path), opts)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	// An answer may have nothing to say.
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode == http.StatusConflict {
		return nil, fmt.Errorf("%s %s: %w: %v", method, path, errConflict, out)
	}
	if len(out) == 1 {
		for _, v := range out {
			if inner, ok := v.(obj); ok {
				return inner, nil
			}
		}
	}
	return out, nil
}

// again is call for what may have been done before: a conflict is as good as done.
func again(ctx context.Context, sc *gophercloud.ServiceClient, method, path string, body any) error {
	_, err := call(ctx, sc, method, path, body)
	if errors.Is(err, errConflict) {
		return nil
	}
	return err
}

// list returns the elements of one page of a list.
func list(ctx context.Context, sc *gophercloud.ServiceClient, path string) ([]obj, error) {
	out, err := call(ctx, sc, "GET", path, nil)
	if err != nil {
		return nil, err
	}
	for name, v := range out {
		items, ok := v.([]any)
		if !ok || strings.HasSuffix(name, "links") {
			continue
		}
		var all []obj
		for _, it := range items {
			if o, ok := it.(obj); ok {
				all = append(all, o)
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

// ensure finds an object by name in a list, or creates it.
func ensure(ctx context.Context, sc *gophercloud.ServiceClient, path, envelope, name string, body obj) (string, error) {
	return ensureIn(ctx, sc, path+"?name="+url.QueryEscape(name), path, envelope, "name", name, body)
}

// ensureIn finds an object in a list by one of its fields, or creates it.
func ensureIn(ctx context.Context, sc *gophercloud.ServiceClient, find, path, envelope, field, value string, body obj) (string, error) {
	found, err := list(ctx, sc, find)
	if err != nil {
		return "", err
	}
	for _, o := range found {
		if o[field] == value {
			return id(o), nil
		}
	}
	body[field] = value
	var req any = obj{envelope: body}
	if envelope == "" {
		req = body
	}
	made, err := call(ctx, sc, "POST", path, req)
	if err != nil {
		return "", err
	}
	return id(made), nil
}

// settle asks for an object until it has the wanted status.
func settle(ctx context.Context, sc *gophercloud.ServiceClient, path, field string, want ...string) error {
	last := ""
	for range 240 {
		o, err := call(ctx, sc, "GET", path, nil)
		if err != nil {
			return err
		}
		last, _ = o[field].(string)
		for _, w := range want {
			if last == w {
				return nil
			}
		}
		if last == "error" || last == "ERROR" {
			return fmt.Errorf("%s: %s is %s, want %v: %s", path, field, last, want, fault(ctx, sc, path, o))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: %s stays %s, want %v", path, field, last, want)
}

// fault is what the cloud says of an object that is in error: Nova in the object,
// Cinder in a message beside it.
func fault(ctx context.Context, sc *gophercloud.ServiceClient, path string, o obj) string {
	if said, ok := o["fault"].(obj); ok {
		return fmt.Sprint(said["message"])
	}
	if !strings.HasPrefix(path, "volumes/") {
		return "the cloud does not say why"
	}
	messages, err := list(ctx, sc, "messages?resource_uuid="+id(o))
	if err != nil {
		return err.Error()
	}
	if len(messages) == 0 {
		return "no message of Cinder says why"
	}
	return fmt.Sprint(messages[0]["user_message"])
}

// each runs f(0..n-1), a few at a time, and returns the first error.
func each(ctx context.Context, parallel, n int, f func(int) error) error {
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan int)
	for range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				if err := f(i); err != nil {
					once.Do(func() { first = err; cancel() })
				}
			}
		}()
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		work <- i
	}
	close(work)
	wg.Wait()
	return first
}
