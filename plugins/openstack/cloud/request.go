package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gophercloud/gophercloud/v2"
)

// Request is one request to a service, relative to its base.
type Request struct {
	Path  string
	Query url.Values
	// Microversion is the one that has all that is wanted; see [Service.Speaks].
	Microversion Microversion
	// Headers are more headers.
	Headers map[string]string
}

// Speaks returns the microversion that is used where wanted would be best.
func (s *Service) Speaks(wanted Microversion) Microversion {
	if s.untold != nil {
		return s.untold.speaks(wanted)
	}
	return within(wanted, s.Lowest, s.Highest)
}

// do makes a GET request. The caller closes the answer's body.
func (s *Service) do(ctx context.Context, r Request, address string) (*http.Response, error) {
	answer, err := s.try(ctx, r, address)
	var refused gophercloud.ErrUnexpectedResponseCode
	if err != nil && s.untold != nil && s.Speaks(r.Microversion) != (Microversion{}) && errors.As(err, &refused) &&
		(refused.Actual == http.StatusNotAcceptable || refused.Actual == http.StatusBadRequest && newest.Match(refused.Body)) {
		s.untold.learn(string(refused.Body[:min(len(refused.Body), 4<<10)]))
		answer, err = s.try(ctx, r, address)
	}
	if err != nil {
		return nil, explain(err)
	}
	return answer, nil
}

func (s *Service) try(ctx context.Context, r Request, address string) (*http.Response, error) {
	headers := map[string]string{}
	maps.Copy(headers, r.Headers)
	if v := s.Speaks(r.Microversion); v != (Microversion{}) {
		headers["OpenStack-API-Version"] = s.API.Header + " " + v.String()
		switch s.API.Name {
		case Compute.Name:
			headers["X-OpenStack-Nova-API-Version"] = v.String()
		case Share.Name:
			headers["X-OpenStack-Manila-API-Version"] = v.String()
		case BareMetal.Name:
			headers["X-OpenStack-Ironic-API-Version"] = v.String()
		}
	}
	return s.cloud.provider.Request(ctx, http.MethodGet, address, &gophercloud.RequestOpts{
		MoreHeaders: headers, KeepResponseBody: true, OkCodes: []int{http.StatusOK, http.StatusMultipleChoices, http.StatusNoContent},
	})
}

func (s *Service) address(r Request) string {
	address := s.Base + strings.TrimLeft(r.Path, "/")
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	return address
}

// Get reads one answer as it is. It returns the time by the service's clock.
func (s *Service) Get(ctx context.Context, r Request) (jsontext.Value, time.Time, error) {
	answer, err := s.do(ctx, r, s.address(r))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxElement+1))
	if err == nil && len(data) > maxElement {
		err = fmt.Errorf("the answer has more than %d bytes", maxElement)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	value := jsontext.Value(data)
	if !value.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: the answer is not JSON", r.Path, s.API.Name)
	}
	return value, clock(answer.Header), nil
}

// GetMember is Get of one member of the answer, as in {"server": {...}}.
func (s *Service) GetMember(ctx context.Context, r Request, member string) (jsontext.Value, time.Time, error) {
	value, at, err := s.Get(ctx, r)
	if err != nil || member == "" {
		return value, at, err
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(value, &all, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, at, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	inner, ok := all[member]
	if !ok {
		return nil, at, fmt.Errorf("GET %s of %s: the answer has no %s", r.Path, s.API.Name, member)
	}
	return inner, at, nil
}

// clock returns the time of an answer by the clock of the service that made it.
func clock(h http.Header) time.Time {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Now()
	}
	return at
}
