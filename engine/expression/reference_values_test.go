package expression_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"sort"
	"strconv"
	"time"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file holds the values of the reference: numbers, texts and JSON.

// DecodeJSON is the value that a JSON text holds, numbers digit for digit; ok
// is false for a text that is not one JSON value.
func DecodeJSON(text string) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	return numbers(v), true
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return ParseNumber(string(v))
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// Number is the text of a JSON number that neither an int nor a float64 gives
// back digit for digit: a 64-bit identifier, 1.50, 1e400.
type Number string

// ParseNumber is the value of a JSON number: an int or a float64 where that
// writes the same text again, and a Number elsewhere.
func ParseNumber(text string) any {
	if i, ok := parseInt(text); ok {
		return int(i)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		var buf [32]byte
		if string(AppendFloat(buf[:0], f)) == text {
			return f
		}
	}
	return Number(string([]byte(text))) // text may be a view of a buffer
}

// parseInt parses an integer that is written as JSON would write it.
func parseInt(text string) (int64, bool) {
	digits := text
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 19 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	if len(digits) == 19 {
		i, err := strconv.ParseInt(text, 10, 64)
		return i, err == nil
	}
	var n int64
	for i := 0; i < len(digits); i++ {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) != len(text) {
		n = -n
	}
	return n, true
}

// AppendFloat appends f as encoding/json writes it.
func AppendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && (dst[n-3] == '-' || dst[n-3] == '+') && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// normal turns what a caller, or expr itself, may put into a value into the
// types that the functions of this package know: nil, bool, string, int,
// float64, Number, []any, map[string]any, time.Time and time.Duration.
func normal(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int, float64, Number, []any, map[string]any, time.Time, time.Duration:
		return v
	case json.Number:
		return ParseNumber(string(v))
	case int64:
		return int(v)
	case uint64:
		if v > math.MaxInt64 {
			return Number(strconv.FormatUint(v, 10))
		}
		return int(v)
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list
	case map[string]string:
		m := make(map[string]any, len(v))
		for k, s := range v {
			m[k] = s
		}
		return m
	case map[any][]any: // of groupBy
		m := make(map[string]any, len(v))
		for k, list := range v {
			key, _ := Text(k)
			m[key] = list
		}
		return m
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	}
	r := reflect.ValueOf(v)
	switch {
	case r.Kind() == reflect.Pointer && r.IsNil():
		return nil
	case r.CanInt():
		return int(r.Int())
	case r.CanUint():
		return normal(r.Uint())
	case r.CanFloat():
		return r.Float()
	case r.Kind() == reflect.String:
		return r.String()
	case r.Kind() == reflect.Bool:
		return r.Bool()
	case r.Kind() == reflect.Slice:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = r.Index(i).Interface()
		}
		return list
	case r.Kind() == reflect.Map:
		m := make(map[string]any, r.Len())
		for _, k := range r.MapKeys() {
			key, _ := Text(k.Interface())
			m[key] = r.MapIndex(k).Interface()
		}
		return m
	}
	return v
}

// kind names the type of a value for a person.
func kind(v any) string {
	switch normal(v).(type) {
	case nil:
		return "nil"
	case bool:
		return "bool"
	case string:
		return "text"
	case int, float64, Number:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	case time.Time:
		return "time"
	case time.Duration:
		return "duration"
	}
	return fmt.Sprintf("%T", v)
}

// Text is a value where text is asked for: a text itself, a number with all
// its digits, true or false, a time in RFC 3339. nil, lists and maps are not
// text.
func Text(v any) (string, bool) {
	switch v := normal(v).(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case float64:
		return string(AppendFloat(nil, v)), true
	case Number:
		return string(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case time.Duration:
		return v.String(), true
	}
	return "", false
}

// JSON is the compact JSON of a value, map keys sorted, numbers digit for
// digit, and no character escaped that JSON does not ask to be.
func JSON(v any) (string, error) {
	dst, err := AppendJSON(nil, v)
	return string(dst), err
}

// AppendJSON appends what [JSON] gives.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	var err error
	switch v := normal(v).(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return rawjson.AppendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, fmt.Errorf("%v is not a number that JSON can hold", v)
		}
		return AppendFloat(dst, v), nil
	case Number:
		return append(dst, v...), nil
	case []any:
		dst = append(dst, '[')
		for i, element := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = AppendJSON(dst, element); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(rawjson.AppendString(dst, name), ':')
			if dst, err = AppendJSON(dst, v[name]); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	if text, ok := Text(v); ok {
		return rawjson.AppendString(dst, text), nil
	}
	return dst, fmt.Errorf("a %T cannot be written as JSON", v)
}

// number is a value as a number: whole and i where it is a whole number that
// fits, f always.
func number(v any) (i int, f float64, whole, ok bool) {
	switch v := v.(type) {
	case int:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	case Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil && !math.IsInf(f, 0) {
			return 0, 0, false, false
		}
		return 0, f, false, true
	}
	return 0, 0, false, false
}
