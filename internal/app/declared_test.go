package app

import "testing"

func TestAllThatIsServedIsDeclaredAndAllThatIsDeclaredIsServed(t *testing.T) {
	api := newWhole(t).server.rest
	for _, path := range api.Undeclared() {
		t.Errorf("%s is served, but schema.All and schema.Requests do not have it", path)
	}
	for _, path := range api.Unserved() {
		t.Errorf("%s is declared, but not served", path)
	}
}
