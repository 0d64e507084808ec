package typedriver_test

import (
	"fmt"
	"testing"

	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
)

func TestRangesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"1:1000":                  "[{1 1000}] <nil>",
		"1:9, 50:50":              "[{1 9} {50 50}] <nil>",
		"9:1":                     `[] "9:1" ends before it begins`,
		"9":                       `[] "9" is not of the form MIN:MAX`,
		"":                        `[] "" is not of the form MIN:MAX`,
		"a:9":                     `[] "a" is not a number`,
		"1:b":                     `[] "b" is not a number`,
		"1:9,":                    `[] "" is not of the form MIN:MAX`,
		"1:999999999999999999999": `[] "999999999999999999999" is not a number`,
	} {
		ranges, err := typedriver.ParseRanges(text)
		if got := fmt.Sprint(ranges, " ", err); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestVLANRangesAreRead(t *testing.T) {
	got, err := typedriver.ParseVLANRanges([]string{"physnet1:100:199", "physnet1", "physnet1:300:399", "physnet2"})
	if want := "map[physnet1:[{100 199} {300 399}] physnet2:[]]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	for _, text := range []string{"", ":1:2", "physnet1:1", "physnet1:2:1", "physnet1:a:b"} {
		if _, err := typedriver.ParseVLANRanges([]string{text}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
