package api

import (
	"context"
	"iter"

	"github.com/reeve-cloud/reeve/aggregator/export"
	"github.com/reeve-cloud/reeve/aggregator/query"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// estateChangeColumns are those of what changed in the whole inventory.
var estateChangeColumns = []export.Column{
	{Name: "observed", Title: "Observed", Kind: export.Time}, {Name: "site", Title: "Site"}, {Name: "type", Title: "Type"}, {Name: "uid", Title: "UID"},
	{Name: "name", Title: "Name"}, {Name: "operation", Title: "Operation"}, {Name: "status", Title: "Status"}, {Name: "region", Title: "Region"},
	{Name: "project", Title: "Project"}, {Name: "changed", Title: "Changed paths", Kind: export.Nested},
	{Name: "version", Title: "Version", Kind: export.Integer}, {Name: "received", Title: "Received", Kind: export.Time}, {Name: "agent", Title: "Agent"},
}

// estateChanges looks at what is asked for of changes of the whole inventory, and reads the
// first page of them.
func (s *Export) estateChanges(ctx context.Context, m *reevev1.ListEstateChangesRequest) (table exportedTable, err error) {
	if m.GetPageSize() != 0 || m.GetPageToken() != "" {
		return table, invalid("estate_changes.page_token", "an export has all pages: leave page_size and page_token out")
	}
	q, err := changesQuery(m)
	if err != nil {
		return table, under("estate_changes", err)
	}
	q.Class, q.Limit = query.Export, exportPage
	first, err := s.Inventory.Engine.Changes(ctx, query.All(), q)
	if err != nil {
		return table, under("estate_changes", filterError("filter", m.GetFilter(), queryError(ctx, s.Logger, err)))
	}
	table.name, table.columns = "changes", estateChangeColumns
	for _, w := range first.Warnings {
		table.notes = append(table.notes, "filter: "+w.Error())
	}
	table.rows = estateChangeRows(ctx, s.Inventory.Engine, q, first)
	return table, nil
}

// estateChangeRows reads changes as rows, behind the first page.
func estateChangeRows(ctx context.Context, e *query.Engine, q query.ChangesQuery, page *query.Changes) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for {
			for i := range page.Rows {
				c := &page.Rows[i]
				changed := make([]any, len(c.Changed))
				for j, path := range c.Changed {
					changed[j] = path
				}
				if !yield([]any{timeOrNil(c.ObservedAt), c.Site, c.Type, c.UID, textOrNil(c.Name), c.Operation.String(), textOrNil(c.Status),
					textOrNil(c.Region), textOrNil(c.Project), changed, c.Version, timeOrNil(c.ReceivedAt), c.AgentID}, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Token = page.Next
			var err error
			if page, err = e.Changes(ctx, query.All(), q); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
