package schema

import (
	"fmt"
	"strings"
)

// maxDomain is the longest a domain name may be in its written form, with the dot at its end (RFC 1035, section 2.3.4).
const maxDomain = 255

// relativeName is a DNS name without the domain it lies in, for instance "web". It is stored in lower case.
func relativeName() codec[string] {
	return domainCodec(func(s string) error {
		if strings.HasSuffix(s, ".") {
			return fmt.Errorf("'%s' is a FQDN. It should be a relative domain name", clip(s))
		}
		return checkLabels(s, maxDomain-3)
	})
}

// domainName is a complete DNS name with a dot at its end, for instance "example.org.". It is stored in lower case.
func domainName() codec[string] {
	return domainCodec(func(s string) error {
		if !strings.HasSuffix(s, ".") {
			return fmt.Errorf("'%s' is not a FQDN", clip(s))
		}
		return checkLabels(strings.TrimSuffix(s, "."), maxDomain-3)
	})
}

// domainCodec is a text in lower case that is empty or passes the check.
func domainCodec(check func(string) error) codec[string] {
	c := text(maxDomain)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		s, err := parse(raw)
		if err != nil {
			return "", err
		}
		if s == "" {
			return "", nil
		}
		if err := check(s); err != nil {
			return "", err
		}
		return strings.ToLower(s), nil
	}
	return c
}

// checkLabels checks labels of letters, digits and inner hyphens, separated by dots (RFC 1123, section 2.1).
func checkLabels(name string, most int) error {
	if len(name) > most {
		return fmt.Errorf("'%s' exceeds the %d character FQDN limit", clip(name), maxDomain)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("'%s' is not a valid PQDN or FQDN: '%s' is no label of it", clip(name), clip(label))
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return fmt.Errorf("'%s' is not a valid PQDN or FQDN: '%s' is no label of it", clip(name), clip(label))
			}
		}
	}
	return nil
}
