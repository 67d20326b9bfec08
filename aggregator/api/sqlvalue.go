package api

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/types/known/structpb"
)

// scanTargets returns where the values of a row go: a pointer for each column, of
// the type that the driver has for it.
func scanTargets(columns []driver.ColumnType) []any {
	targets := make([]any, len(columns))
	for i, c := range columns {
		targets[i] = reflect.New(c.ScanType()).Interface()
	}
	return targets
}

// sqlValue returns the value of a column of a type: as JSON has it, with texts for
// what JSON cannot hold.
func sqlValue(v any, columnType string) *structpb.Value {
	switch v := v.(type) {
	case nil:
		return structpb.NewNullValue()
	case time.Time:
		if strings.Contains(columnType, "Date") && !strings.Contains(columnType, "DateTime") {
			return structpb.NewStringValue(v.Format(time.DateOnly))
		}
		return structpb.NewStringValue(v.UTC().Format(time.RFC3339Nano))
	case string:
		return sqlText(v)
	case fmt.Stringer:
		// UUIDs, addresses, decimals, large whole numbers. A nil pointer is none.
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && (r.IsNil() || r.Type().Elem() == reflect.TypeFor[time.Time]()) {
			break
		}
		return sqlText(v.String())
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Interface:
		if r.IsNil() {
			return structpb.NewNullValue()
		}
		return sqlValue(r.Elem().Interface(), columnType)
	case reflect.Bool:
		return structpb.NewBoolValue(r.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n := r.Int(); n > maxExact || n < -maxExact {
			return structpb.NewStringValue(fmt.Sprint(n))
		}
		return structpb.NewNumberValue(float64(r.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := r.Uint(); n > maxExact {
			return structpb.NewStringValue(fmt.Sprint(n))
		}
		return structpb.NewNumberValue(float64(r.Uint()))
	case reflect.Float32, reflect.Float64:
		if f := r.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return structpb.NewStringValue(fmt.Sprint(f))
		}
		return structpb.NewNumberValue(r.Float())
	case reflect.Slice, reflect.Array:
		list := &structpb.ListValue{Values: make([]*structpb.Value, r.Len())}
		for i := range list.Values {
			list.Values[i] = sqlValue(r.Index(i).Interface(), columnType)
		}
		return structpb.NewListValue(list)
	case reflect.Map:
		object := &structpb.Struct{Fields: make(map[string]*structpb.Value, r.Len())}
		for _, key := range r.MapKeys() {
			object.Fields[sqlText(fmt.Sprint(key.Interface())).GetStringValue()] = sqlValue(r.MapIndex(key).Interface(), columnType)
		}
		return structpb.NewStructValue(object)
	}
	return sqlText(fmt.Sprint(v))
}

// sqlText returns a text, or bytes that are none in hexadecimal digits.
func sqlText(s string) *structpb.Value {
	if !utf8.ValidString(s) {
		s = "0x" + hex.EncodeToString([]byte(s))
	}
	return structpb.NewStringValue(s)
}
