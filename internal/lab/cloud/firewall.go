package cloud

import (
	"context"
	"net/http"
	"net/url"
)

// SecurityGroup is a set of rules on what may reach a port.
type SecurityGroup struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
}

// SecurityGroupRule allows a kind of traffic.
type SecurityGroupRule struct {
	ID        string `json:"id,omitempty"`
	GroupID   string `json:"security_group_id"`
	Direction string `json:"direction"`
	Protocol  string `json:"protocol,omitempty"`
	MinPort   int    `json:"port_range_min,omitempty"`
	MaxPort   int    `json:"port_range_max,omitempty"`
}

// SecurityGroups lists security groups.
func (c *Client) SecurityGroups(ctx context.Context, filters map[string]string) ([]SecurityGroup, error) {
	var answer struct {
		Groups []SecurityGroup `json:"security_groups"`
	}
	err := c.do(ctx, http.MethodGet, "/security-groups"+query(filters), nil, &answer)
	return answer.Groups, err
}

// CreateSecurityGroup makes a group, whose ports may send everything and get answers only.
func (c *Client) CreateSecurityGroup(ctx context.Context, g SecurityGroup) (SecurityGroup, error) {
	var answer struct {
		Group SecurityGroup `json:"security_group"`
	}
	err := c.do(ctx, http.MethodPost, "/security-groups", object{"security_group": g}, &answer)
	return answer.Group, err
}

// CreateSecurityGroupRule makes a rule. One that is there already is refused with SecurityGroupRuleExists.
func (c *Client) CreateSecurityGroupRule(ctx context.Context, r SecurityGroupRule) error {
	return c.do(ctx, http.MethodPost, "/security-group-rules", object{"security_group_rule": r}, nil)
}

// SetSecurityGroups gives a port these groups, in place of those that it has.
func (c *Client) SetSecurityGroups(ctx context.Context, port string, groups ...string) error {
	body := object{"port": object{"security_groups": groups}}
	return c.do(ctx, http.MethodPut, "/ports/"+url.PathEscape(port), body, nil)
}
