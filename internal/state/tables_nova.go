package state

import (
	"fmt"

	"github.com/neutrino-net/neutrino/internal/model"
)

// What Nova has still to be told, in order of the queue.
var (
	NovaEvents           = newTable[model.NovaEvent]("nova-event")
	NovaEventsBySequence = newIndex(NovaEvents, func(e *model.NovaEvent) []string {
		return []string{fmt.Sprintf("%016x", e.Sequence)}
	})
)
