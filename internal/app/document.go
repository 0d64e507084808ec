package app

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/neutrino-net/neutrino/internal/openapi"
)

// serveDocument adds the OpenAPI document, for everybody. It is made when it is asked for the first time.
func (s *server) serveDocument() {
	document := sync.OnceValues(func() ([]byte, error) { return openapi.Document(s.Version) })
	s.rest.Handle("GET "+openapi.Path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := document()
		if err != nil {
			s.Logger.Error("making the OpenAPI document", "error", err)
			http.Error(w, "the document cannot be made", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text)
	}))
}
