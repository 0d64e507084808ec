package model

import "maps"

// Quota is what a project may have of each kind where the operator has decided otherwise than the defaults. Its id and
// its owner are the project.
type Quota struct {
	Meta
	// Limits has the names of the kinds (network, port) and how many there may be; -1: any number.
	Limits map[string]int `json:"limits"`
}

// Clone returns a deep copy.
func (q *Quota) Clone() *Quota {
	c := *q
	c.Meta = q.Meta.clone()
	c.Limits = maps.Clone(q.Limits)
	return &c
}
