package model

// NovaEvent is something that Nova has to be told about a port of one of its servers, and has not been told yet. Its id
// is made of what it says, so that the same news is not told twice in a row.
type NovaEvent struct {
	Meta
	// Sequence is its place in the queue.
	Sequence int64 `json:"sequence"`
	// Event is Nova's name for it, for instance network-vif-plugged; Status is "completed" or "failed", and empty for the
	// events that have none.
	Event    string `json:"event"`
	Status   string `json:"status,omitempty"`
	ServerID string `json:"server_id"`
	PortID   string `json:"port_id"`
}
