package filter_test

import (
	"testing"
)

func TestOnlyWhatARuleAllowsArrives(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("without a rule, a ping is answered")
	}
	if got := l.dropped(2); got["ingress no-rule"] == 0 {
		t.Errorf("what was dropped: %v", got)
	}
	l.apply(open("default", ingress(4, 1), ingress(6, 58)))
	if !reaches(a, ip4(2)) || !reaches(a, ip6(2)) || !reaches(b, ip4(1)) {
		t.Errorf("with a rule, a ping is not answered\n%s", l.ruleset())
	}
	l.apply(open("default"))
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("without the rule, a ping is answered again")
	}
}
