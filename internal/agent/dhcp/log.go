package dhcp

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
)

// maxLogMessages bounds an answer of the handler.
const maxLogMessages = 1000

// portLog is where the exchanges of a port are found.
type portLog struct {
	network, dir string
	mac          net.HardwareAddr
}

// Log is the answer to GET /v1/dhcp-log/{port}.
type Log struct {
	Port    string `json:"port"`
	Network string `json:"network"`
	MAC     string `json:"mac"`
	// Messages are the newest ones of the port, the oldest first.
	Messages []LogMessage `json:"messages"`
	// Missing are the steps of the last exchange that did not happen, of DHCPDISCOVER, DHCPOFFER, DHCPREQUEST and DHCPACK.
	Missing []string `json:"missing"`
}

// LogMessage is one step of an exchange.
type LogMessage struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Address string    `json:"address,omitempty"`
	Note    string    `json:"note,omitempty"`
}

// LogPattern is where LogHandler belongs on a ServeMux.
const LogPattern = "GET /v1/dhcp-log/{port}"

// LogHandler answers what the DHCP server and the port have said to each other.
func (p *Part) LogHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("port")
		p.mu.Lock()
		port, known := p.ports[id]
		p.mu.Unlock()
		if !known {
			reply(w, http.StatusNotFound, map[string]string{"error": "this host does not serve DHCP to the port " + id})
			return
		}
		messages, err := dnsmasq.ReadLog(port.dir, port.mac, time.Now(), maxLogMessages)
		if err != nil {
			reply(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		log := Log{Port: id, Network: port.network, MAC: port.mac.String(), Missing: missing(messages), Messages: []LogMessage{}}
		for _, m := range messages {
			line := LogMessage{Time: m.Time, Type: m.Type, Note: m.Note}
			if m.Address.IsValid() {
				line.Address = m.Address.String()
			}
			log.Messages = append(log.Messages, line)
		}
		reply(w, http.StatusOK, log)
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the only error is a client that went away
}

// missing looks at the last exchange. One that begins with a REQUEST is a renewal, which has no DISCOVER and no OFFER.
func missing(messages []dnsmasq.Message) []string {
	start, renewal := 0, false
	for i, m := range messages {
		previous := ""
		if i > 0 {
			previous = messages[i-1].Type
		}
		switch {
		case m.Type == "DHCPDISCOVER":
			start, renewal = i, false
		case m.Type == "DHCPREQUEST" && (previous == "DHCPACK" || previous == "DHCPNAK" || previous == "DHCPRELEASE"):
			start, renewal = i, true
		}
	}
	steps := []string{"DHCPDISCOVER", "DHCPOFFER", "DHCPREQUEST", "DHCPACK"}
	if renewal {
		steps = steps[2:]
	}
	out := []string{}
	for _, step := range steps {
		if !slices.ContainsFunc(messages[start:], func(m dnsmasq.Message) bool { return m.Type == step }) {
			out = append(out, step)
		}
	}
	return out
}

// notePorts keeps for the handler which ports are served, and by whom.
func (p *Part) notePorts() {
	ports := map[string]portLog{}
	for _, s := range p.servers {
		if s.conversion.server == nil {
			continue
		}
		for _, h := range s.conversion.server.config.Hosts {
			ports[h.ID] = portLog{network: s.network, dir: s.dir, mac: h.MAC}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ports = ports
}
