package typedriver

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseRanges reads ranges as operators write them: 1:1000,5000:6000.
func ParseRanges(text string) ([]Range, error) {
	var ranges []Range
	for part := range strings.SplitSeq(text, ",") {
		r, err := parseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// ParseVLANRanges reads the physical networks that may carry VLANs, each with a range or without: physnet1:100:199 or
// physnet1. A physical network may stand there several times.
func ParseVLANRanges(texts []string) (map[string][]Range, error) {
	ranges := map[string][]Range{}
	for _, text := range texts {
		physnet, rest, has := strings.Cut(text, ":")
		if physnet == "" {
			return nil, fmt.Errorf("%q is not of the form PHYSNET or PHYSNET:MIN:MAX", text)
		}
		if !has {
			ranges[physnet] = append([]Range{}, ranges[physnet]...) // named, even without a range
			continue
		}
		r, err := parseRange(rest)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		ranges[physnet] = append(ranges[physnet], r)
	}
	return ranges, nil
}

func parseRange(text string) (r Range, err error) {
	low, high, ok := strings.Cut(text, ":")
	if !ok {
		return r, fmt.Errorf("%q is not of the form MIN:MAX", text)
	}
	if r.Min, err = strconv.Atoi(low); err != nil {
		return r, fmt.Errorf("%q is not a number", low)
	}
	if r.Max, err = strconv.Atoi(high); err != nil {
		return r, fmt.Errorf("%q is not a number", high)
	}
	if r.Min > r.Max {
		return r, fmt.Errorf("%q ends before it begins", text)
	}
	return r, nil
}
