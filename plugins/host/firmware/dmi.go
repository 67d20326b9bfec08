// Package firmware reads what a machine's firmware says of it, and on what it runs.
package firmware

import (
	"strings"

	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// DMI is what the firmware says of the hardware.
type DMI struct {
	System  Part `json:"system,omitzero"`
	Board   Part `json:"board,omitzero"`
	Chassis Part `json:"chassis,omitzero"`
	BIOS    BIOS `json:"bios,omitzero"`
}

// Part is what it says of a part of the machine.
type Part struct {
	Vendor   string `json:"vendor,omitempty"`
	Product  string `json:"product,omitempty"`
	Family   string `json:"family,omitempty"`
	SKU      string `json:"sku,omitempty"`
	Version  string `json:"version,omitempty"`
	Serial   string `json:"serial,omitempty"`
	UUID     string `json:"uuid,omitempty"`
	AssetTag string `json:"asset_tag,omitempty"`
	Type     string `json:"type,omitempty"`
}

// BIOS is what it says of itself.
type BIOS struct {
	Vendor  string `json:"vendor,omitempty"`
	Version string `json:"version,omitempty"`
	Date    string `json:"date,omitempty"`
}

// Read reads what the kernel decoded of the DMI tables. Serial numbers and
// the UUID are for root only; a machine without DMI (most of ARM, a microVM)
// has nothing at all.
func Read(t tree.Tree) DMI {
	get := func(name string) string {
		s := t.Text("sys/class/dmi/id", name)
		if placeholder(s) {
			return ""
		}
		return s
	}
	return DMI{
		System: Part{
			Vendor: get("sys_vendor"), Product: get("product_name"), Family: get("product_family"),
			SKU: get("product_sku"), Version: get("product_version"), Serial: get("product_serial"),
			UUID: get("product_uuid"),
		},
		Board: Part{
			Vendor: get("board_vendor"), Product: get("board_name"), Version: get("board_version"),
			Serial: get("board_serial"), AssetTag: get("board_asset_tag"),
		},
		Chassis: Part{
			Vendor: get("chassis_vendor"), Type: get("chassis_type"), Version: get("chassis_version"),
			Serial: get("chassis_serial"), AssetTag: get("chassis_asset_tag"),
		},
		BIOS: BIOS{Vendor: get("bios_vendor"), Version: get("bios_version"), Date: get("bios_date")},
	}
}

// placeholder says that a vendor never filled a DMI string in. Taken at its
// word, such a UUID would make one machine of many.
func placeholder(s string) bool {
	switch strings.ToLower(s) {
	case "to be filled by o.e.m.", "default string", "not specified", "not available", "none", "n/a", "unknown",
		"system serial number", "system product name", "system version", "system manufacturer",
		"not present", "not settable", "invalid", "o.e.m.", "oem", "empty", "0123456789", "123456789", "1234567890",
		// UUIDs of firmware that nobody set up, in both orders of their bytes.
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009",
		"00010203-0405-0607-0809-0a0b0c0d0e0f", "03020100-0504-0706-0809-0a0b0c0d0e0f",
		"12345678-1234-5678-90ab-cddeefaabbcc", "78563412-3412-7856-90ab-cddeefaabbcc",
		"12345678-1234-1234-1234-123456789abc", "01234567-8910-1112-1314-151617181920",
		"deadbeef-dead-beef-dead-beefdeadbeef", "fefefefe-fefe-fefe-fefe-fefefefefefe":
		return true
	}
	digits := strings.ReplaceAll(strings.ToLower(s), "-", "")
	return digits == "" || len(digits) == 32 && strings.Trim(digits, digits[:1]) == "" ||
		strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == ""
}
