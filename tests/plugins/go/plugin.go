// SPDX-License-Identifier: MIT OR Apache-2.0

// A vendor's exporter in Go: the snapshot as StatsD lines with tags, the very lines that
// examples/plugins/statsd_lines.c writes. Its runtime has threads, signal handlers and a collector,
// and never leaves: it is for `isolation = "process"`.
//
// Options: "prefix", text before each name; "fail", how a test has it misbehave.
package main

// #include "plugin.h"
import "C"

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"runtime/cgo"
	"strconv"
	"unsafe"
)

type options struct {
	Prefix string `json:"prefix"`
	Fail   string `json:"fail"`
}

// A failure with a status of the ABI.
type failure struct {
	status C.tallyport_status
	text   string
}

func (f failure) Error() string { return f.text }

//export goCreate
func goCreate(self *C.tallyport_exporter, config C.tallyport_str, err *C.tallyport_error) (status C.tallyport_status) {
	defer contain(self, err, &status)
	var state options
	if config.len > 0 {
		decoder := json.NewDecoder(bytes.NewReader(C.GoBytes(unsafe.Pointer(config.ptr), C.int(config.len))))
		decoder.DisallowUnknownFields()
		if wrong := decoder.Decode(&state); wrong != nil {
			return fails(self, err, failure{C.TALLYPORT_INVALID_ARGUMENT, wrong.Error()})
		}
	}
	if state.Fail == "create" {
		panic("as told in create")
	}
	self.state = C.uintptr_t(cgo.NewHandle(state))
	return C.TALLYPORT_OK
}

//export goDestroy
func goDestroy(self *C.tallyport_exporter) { cgo.Handle(self.state).Delete() }

//export goExport
func goExport(self *C.tallyport_exporter, call *C.tallyport_call, snapshot *C.tallyport_snapshot, sink *C.tallyport_sink, err *C.tallyport_error) (status C.tallyport_status) {
	defer contain(self, err, &status)
	state := cgo.Handle(self.state).Value().(options)
	switch state.Fail {
	case "export":
		panic("as told in export")
	case "process":
		// Not of this goroutine: nothing can recover it, and the runtime ends the process.
		done := make(chan struct{})
		go func() { panic("as told, in a goroutine") }()
		<-done
	case "hang":
		select {}
	}
	out := output{host: self.host, sink: sink, call: call, prefix: clean(state.Prefix, nameEnds)}
	wrong := out.snapshot(snapshot)
	if wrong == nil {
		wrong = out.handOver()
	}
	if out.leftOut > 0 {
		text := fmt.Sprintf("%d values are not finite and were left out", out.leftOut)
		C.log_line(self.host, C.TALLYPORT_LOG_WARN, chars(text), C.size_t(len(text)))
	}
	if wrong != nil {
		return fails(self, err, wrong)
	}
	return C.TALLYPORT_OK
}

// Turns a panic into a status: none may cross into the host.
func contain(self *C.tallyport_exporter, err *C.tallyport_error, status *C.tallyport_status) {
	if what := recover(); what != nil {
		*status = fails(self, err, failure{C.TALLYPORT_PANIC, fmt.Sprintf("panic: %v", what)})
	}
}

func fails(self *C.tallyport_exporter, err *C.tallyport_error, why error) C.tallyport_status {
	status := C.tallyport_status(C.TALLYPORT_PLUGIN_FAILED)
	if known, ok := why.(failure); ok {
		status = known.status
	}
	if text := why.Error(); text != "" {
		C.error_set(self.host, err, status, chars(text), C.size_t(len(text)))
	}
	return status
}

// The bytes of a text, lent for one call into C.
func chars(text string) *C.char {
	return (*C.char)(unsafe.Pointer(&[]byte(text)[0]))
}

// --- Columns.

// The elements of a column; none where it is absent or not what its id says.
func column[T any](from *C.tallyport_snapshot, id C.uint32_t) []T {
	var element T
	bytes, stride := raw(from, id)
	if stride != unsafe.Sizeof(element) || len(bytes) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&bytes[0])), uintptr(len(bytes))/stride)
}

// The bytes of a column, and the size of its elements.
func raw(from *C.tallyport_snapshot, id C.uint32_t) ([]byte, uintptr) {
	regions := unsafe.Slice(from.regions, int(from.region_count))
	for _, one := range unsafe.Slice(from.columns, int(from.column_count)) {
		if one.id != id || int(one.region) >= len(regions) || one.count == 0 || one.elem_size == 0 {
			continue
		}
		region := regions[one.region]
		if region.base == nil || one.offset > region.len ||
			one.count > (region.len-one.offset)/C.uint64_t(one.elem_size) {
			return nil, 0
		}
		first := (*byte)(unsafe.Add(unsafe.Pointer(region.base), one.offset))
		return unsafe.Slice(first, uint64(one.count)*uint64(one.elem_size)), uintptr(one.elem_size)
	}
	return nil, 0
}

// Part of a column, or a failure when it lies outside.
func part[T any, N, M ~uint32 | ~uint64](of []T, start N, count M) []T {
	if uint64(start) > uint64(len(of)) || uint64(count) > uint64(len(of))-uint64(start) {
		panic(failure{C.TALLYPORT_DAMAGED, "a family is out of range"})
	}
	return of[start:][:count]
}

// --- Lines.

const (
	nameEnds = ":|@#"
	tagEnds  = ":|#,"
)

// Text with what would end it replaced, and control characters.
func clean(text, ends string) string {
	cleaned := []byte(text)
	for at, c := range cleaned {
		if c < 0x20 || c == 0x7f || bytes.IndexByte([]byte(ends), c) >= 0 {
			cleaned[at] = '_'
		}
	}
	return string(cleaned)
}

type output struct {
	host    *C.tallyport_host
	sink    *C.tallyport_sink
	call    *C.tallyport_call
	prefix  string
	buffer  []byte
	leftOut int

	offsets []uint32
	strings []byte
}

// What is written to the sink comes in pieces; what it refuses ends the export.
func (o *output) handOver() error {
	if len(o.buffer) == 0 {
		return nil
	}
	status := C.sink_write(o.host, o.sink, (*C.uint8_t)(&o.buffer[0]), C.size_t(len(o.buffer)))
	o.buffer = o.buffer[:0]
	if status != C.TALLYPORT_OK {
		return failure{status, ""}
	}
	return nil
}

func (o *output) text(id uint32) string {
	ends := part(o.offsets, id, uint32(2))
	return string(part(o.strings, ends[0], ends[1]-ends[0]))
}

func (o *output) snapshot(from *C.tallyport_snapshot) (wrong error) {
	defer func() {
		if what := recover(); what != nil {
			damaged, ok := what.(failure)
			if !ok {
				panic(what)
			}
			wrong = damaged
		}
	}()
	o.offsets = column[uint32](from, C.TALLYPORT_COLUMN_STR_OFF)
	o.strings = column[byte](from, C.TALLYPORT_COLUMN_STR_BYTES)
	ranges := column[C.tallyport_range](from, C.TALLYPORT_COLUMN_LABEL_RANGES)
	pairs := column[C.tallyport_label_pair](from, C.TALLYPORT_COLUMN_LABEL_PAIRS)
	bounds := column[float64](from, C.TALLYPORT_COLUMN_HIST_BOUNDS)
	values := column[uint64](from, C.TALLYPORT_COLUMN_VALUE_BITS)
	counts := column[uint64](from, C.TALLYPORT_COLUMN_HIST_COUNT)
	buckets := column[uint64](from, C.TALLYPORT_COLUMN_HIST_BUCKETS)
	// Rows may be longer in a newer host.
	rows, stride := raw(from, C.TALLYPORT_COLUMN_FAMILIES)
	var family C.tallyport_family
	if stride < unsafe.Sizeof(family) {
		return nil
	}
	for ; len(rows) > 0; rows = rows[stride:] {
		family = *(*C.tallyport_family)(unsafe.Pointer(&rows[0]))
		if family.kind < C.TALLYPORT_KIND_COUNTER || family.kind > C.TALLYPORT_KIND_HISTOGRAM ||
			family.number < C.TALLYPORT_NUMBER_F64 || family.number > C.TALLYPORT_NUMBER_I64 {
			continue // of a later version
		}
		name := o.prefix + clean(o.text(uint32(family.name)), nameEnds)
		bits := part(values, family.series_start, family.series_count)
		for at, labels := range part(ranges, family.series_start, family.series_count) {
			if at%1024 == 0 && C.is_cancelled(o.call) != 0 {
				return failure{C.TALLYPORT_CANCELLED, ""}
			}
			tags := o.tags(part(pairs, labels.start, labels.count))
			if family.kind == C.TALLYPORT_KIND_HISTOGRAM {
				width := uint64(family.bounds_count) + 1
				count := part(counts, family.hist_start, family.series_count)[at]
				start := uint64(family.bucket_start) + uint64(at)*width
				own := part(bounds, family.bounds_start, family.bounds_count)
				o.histogram(name, tags, count, bits[at], own, part(buckets, start, width))
			} else {
				o.value(name, tags, family.kind, family.number, bits[at])
			}
			if len(o.buffer) >= 64<<10 {
				if wrong := o.handOver(); wrong != nil {
					return wrong
				}
			}
		}
	}
	return nil
}

func (o *output) tags(pairs []C.tallyport_label_pair) string {
	tags := ""
	for _, pair := range pairs {
		key, value := o.text(uint32(pair.name)), o.text(uint32(pair.value))
		tags = tag(tags, clean(key, tagEnds), clean(value, tagEnds))
	}
	return tags
}

func tag(tags, key, value string) string {
	if tags == "" {
		return "|#" + key + ":" + value
	}
	return tags + "," + key + ":" + value
}

func (o *output) line(name, suffix, value, kind, tags string) {
	for _, text := range []string{name, suffix, ":", value, kind, tags, "\n"} {
		o.buffer = append(o.buffer, text...)
	}
}

func (o *output) value(name, tags string, kind, number C.uint32_t, bits uint64) {
	value, known := spelled(number, bits)
	if !known {
		o.leftOut++
	} else if kind == C.TALLYPORT_KIND_COUNTER {
		o.line(name, "", value, "|c", tags)
	} else {
		o.line(name, "", value, "|g", tags)
	}
}

func (o *output) histogram(name, tags string, count, sumBits uint64, bounds []float64, buckets []uint64) {
	o.line(name, "_count", strconv.FormatUint(count, 10), "|c", tags)
	if sum, known := spelled(C.TALLYPORT_NUMBER_F64, sumBits); known {
		o.line(name, "_sum", sum, "|c", tags)
	} else {
		o.leftOut++
	}
	var total uint64
	for at, one := range buckets {
		total += one
		le := "+Inf"
		if at < len(bounds) {
			le = float(bounds[at])
		}
		o.line(name, "_bucket", strconv.FormatUint(total, 10), "|c", tag(tags, "le", le))
	}
}

// A value as text; false for one that StatsD cannot spell.
func spelled(number C.uint32_t, bits uint64) (string, bool) {
	switch number {
	case C.TALLYPORT_NUMBER_U64:
		return strconv.FormatUint(bits, 10), true
	case C.TALLYPORT_NUMBER_I64:
		return strconv.FormatInt(int64(bits), 10), true
	}
	value := math.Float64frombits(bits)
	return float(value), !math.IsNaN(value) && !math.IsInf(value, 0)
}

// The shortest of 15 to 17 digits that reads back as the same number.
func float(value float64) string {
	if value == 0 {
		return "0" // -0 would read as a change of a gauge
	}
	for digits := 15; digits < 17; digits++ {
		text := strconv.FormatFloat(value, 'g', digits, 64)
		if back, _ := strconv.ParseFloat(text, 64); back == value {
			return text
		}
	}
	return strconv.FormatFloat(value, 'g', 17, 64)
}

func main() {}
