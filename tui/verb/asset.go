package verb

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
)

// AssetOptions name one asset.
type AssetOptions struct {
	UID, Site, Type string
}

// AddTo adds the flags to a verb.
func (o *AssetOptions) AddTo(a *App, cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.Site, "site", "", "site of the asset, where several have the uid")
	cmd.Flags().StringVar(&o.Type, "type", "", "type of the asset, where several have the uid")
	a.Complete(cmd, "site", a.CompleteSites)
	a.Complete(cmd, "type", a.CompleteTypes)
}

// ExplainAsset puts an error of a call for one asset into words.
func (s *Session) ExplainAsset(ctx context.Context, err error, o AssetOptions) error {
	if connect.CodeOf(err) != connect.CodeNotFound {
		return s.Explain(err)
	}
	if err := s.CheckSite(ctx, o.Site); err != nil {
		return err
	}
	text := fmt.Sprintf("asset %q not found", o.UID)
	if o.Site != "" {
		text += " in site " + o.Site
	}
	if o.Type != "" {
		text += " with type " + o.Type
	}
	return &Explained{Text: text, Cause: err}
}

// ResolveType makes the type that a user gave the whole name of it.
func (s *Session) ResolveType(ctx context.Context, o *AssetOptions) error {
	if o.Type == "" {
		return nil
	}
	t, err := s.AssetType(ctx, o.Site, o.Type)
	if err == nil {
		o.Type = t.GetName()
	}
	return err
}
