package api

import (
	"context"
	"errors"
	"log/slog"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
)

// Layouts finds how types are shown: by what people say, else by what collectors say, else
// by what there is.
type Layouts struct {
	Warehouse *warehouse.Warehouse
	Registry  *registry.Registry
	Catalogue *catalogue.Catalogue
	Logger    *slog.Logger
}

// maxKnown is how many paths a generated layout is made of.
const maxKnown = 500

// of returns the layout of a type, as told by a site or by most of them; source is
// unspecified if there is none.
func (s *Layouts) of(ctx context.Context, site, name string) (text []byte, source reevev1.LayoutSource, given registry.TypeLayout,
	err error) {
	told, err := s.Warehouse.TypeLayout(ctx, site, name)
	if err != nil {
		return nil, 0, given, err
	}
	return s.instead(ctx, name, told)
}

// instead returns what a type is shown by, where collectors say what is told.
func (s *Layouts) instead(ctx context.Context, name string, told []byte) (text []byte, source reevev1.LayoutSource, given registry.TypeLayout,
	err error) {
	switch given, err = s.Registry.Layout(ctx, name); {
	case err == nil:
		return given.Layout, reevev1.LayoutSource_LAYOUT_SOURCE_USER, given, nil
	case errors.Is(err, registry.ErrCorrupt):
		s.Logger.ErrorContext(ctx, "the layout that people gave to a type cannot be read", "type", name, "error", err)
	case !errors.Is(err, registry.ErrNotFound):
		return nil, 0, given, err
	}
	if len(told) > 0 {
		return told, reevev1.LayoutSource_LAYOUT_SOURCE_COLLECTOR, given, nil
	}
	if made := s.generate(name); made != nil {
		return made, reevev1.LayoutSource_LAYOUT_SOURCE_GENERATED, given, nil
	}
	return nil, reevev1.LayoutSource_LAYOUT_SOURCE_UNSPECIFIED, given, nil
}

// catalogueFormats are the formats of what the catalogue tells apart.
var catalogueFormats = map[catalogue.Kind]layout.Format{
	catalogue.Number: layout.Number, catalogue.Time: layout.Time, catalogue.Boolean: layout.Bool,
}

func (s *Layouts) generate(name string) []byte {
	if s.Catalogue == nil {
		return nil
	}
	paths, _ := s.Catalogue.Paths(nil, name, "", maxKnown)
	known := make([]layout.Known, len(paths))
	for i, p := range paths {
		known[i] = layout.Known{Path: p.Path, Format: catalogueFormats[p.Kind], List: p.List, Assets: p.Assets}
	}
	return layout.Generate(known)
}
