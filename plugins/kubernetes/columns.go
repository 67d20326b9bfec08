package kubernetes

import (
	"bytes"
	"encoding/json"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/layouts"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// noteColumns makes a layout of the columns that a definition of a custom
// resource has for kubectl, unless there is one that was made by hand.
func (c *observer) noteColumns(o *object.Object) error {
	var definition struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []struct {
				Storage bool                    `json:"storage"`
				Columns []layouts.PrinterColumn `json:"additionalPrinterColumns"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := o.Decode(&definition); err != nil {
		return err
	}
	assetType := object.Type(definition.Spec.Group, definition.Spec.Names.Kind)
	if layouts.Has(assetType) {
		return nil
	}
	for _, v := range definition.Spec.Versions {
		if !v.Storage {
			continue
		}
		layout := layouts.FromPrinterColumns(v.Columns)
		c.mu.Lock()
		defer c.mu.Unlock()
		if !bytes.Equal(c.columns[assetType], layout) {
			c.columns[assetType], c.newColumns = layout, true
		}
		return nil
	}
	return nil
}

// printed returns the layout made of a definition's columns, or nil.
func (c *observer) printed(assetType string) json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.columns[assetType]
}

// takeNewColumns reports whether any such layout is new since the last call.
func (c *observer) takeNewColumns() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.newColumns
	c.newColumns = false
	return changed
}
