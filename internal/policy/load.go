package policy

import (
	_ "embed"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// maxFileSize bounds a file of rules, in bytes.
const maxFileSize = 1 << 20

//go:embed defaults.yaml
var defaultsFile []byte

// Defaults returns the texts of the default rules by name. The map is the caller's own.
func Defaults() (map[string]string, error) {
	rules, err := parseFile(defaultsFile)
	if err != nil {
		return nil, fmt.Errorf("default policy rules: %w", err)
	}
	return rules, nil
}

// LoadOverrides reads a YAML or JSON file that maps names of rules to their texts.
func LoadOverrides(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("policy file %s: larger than %d bytes", path, maxFileSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	rules, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("policy file %s: %w", path, err)
	}
	return rules, nil
}

// parseFile reads name: text pairs. A value that is not a text is refused, above all a missing one: "get_network:"
// with nothing behind it would otherwise become the empty text, which allows everybody everything.
func parseFile(data []byte) (map[string]string, error) {
	var values map[string]any
	if err := yaml.UnmarshalWithOptions(data, &values, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("expected a map of rule names to texts: %w", err)
	}
	rules := make(map[string]string, len(values))
	for name, value := range values {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("rule %q: expected a text in quotes, found %T", name, value)
		}
		rules[name] = text
	}
	return rules, nil
}
