package verb

import (
	"strings"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// ChangesOptions are the flags that ask for changes of all assets.
type ChangesOptions struct {
	filter, since, until string
	operations           []string
}

// AddTo adds the flags.
func (o *ChangesOptions) AddTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.filter, "filter", "l", "", "only versions that are as this filter says")
	f.StringVar(&o.since, "since", "", "only what changed since then: an age such as 7d, a date, or a time")
	f.StringVar(&o.until, "until", "", "only what changed until then")
	f.StringSliceVar(&o.operations, "operation", nil, "only these: created, updated, deleted (may be given several times)")
}

// OfOne refuses the flags where one asset is named.
func (o *ChangesOptions) OfOne(cmd *cobra.Command) error {
	for _, flag := range []string{"filter", "since", "until", "operation"} {
		if cmd.Flags().Changed(flag) {
			return Usagef("--%s is for the changes of all assets: leave the UID out", flag)
		}
	}
	return nil
}

// Request is what the API is asked for, without site and type.
func (o *ChangesOptions) Request(a *App) (*reevev1.ListEstateChangesRequest, error) {
	r := &reevev1.ListEstateChangesRequest{Filter: o.filter}
	for _, name := range o.operations {
		n, ok := reevev1.Change_Operation_value["OPERATION_"+strings.ToUpper(name)]
		if !ok || n == 0 {
			return nil, Usagef("--operation %q: must be created, updated or deleted", name)
		}
		r.Operations = append(r.Operations, reevev1.Change_Operation(n))
	}
	var err error
	if _, r.StartTime, err = a.Point("since", o.since); err != nil {
		return nil, err
	}
	if _, r.EndTime, err = a.Point("until", o.until); err != nil {
		return nil, err
	}
	return r, nil
}
