package zapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/zapi-go/zapi"
)

// Settings hold the privacy settings of one instance.
type Settings struct {
	LastSeen        Audience
	Photo           Audience
	Description     Audience
	GroupAdd        Audience // who may add to groups; never NONE
	Online          zapi.OnlineVisibility
	ReadReceipts    zapi.ReadReceipts
	MessageDuration zapi.MessageDuration
}

// An Audience is a setting with a blacklist. The blacklist stays when the visibility changes, as it does in the API.
type Audience struct {
	Visibility zapi.Visibility
	Blacklist  []string // sorted, each contact once; nil when empty
}

func newSettings() Settings {
	everyone := Audience{Visibility: zapi.VisibilityAll}
	return Settings{
		LastSeen: everyone, Photo: everyone, Description: everyone, GroupAdd: everyone,
		Online: zapi.OnlineAll, ReadReceipts: zapi.ReadReceiptsEnable, MessageDuration: zapi.MessageDurationDisable,
	}
}

// clone returns a copy whose blacklists are as [Audience] documents them.
func (s Settings) clone() Settings {
	for _, scope := range scopes {
		audience := s.audience(scope)
		audience.Blacklist = slices.Compact(slices.Sorted(slices.Values(audience.Blacklist)))
	}
	return s
}

// audience returns the setting that a blacklist belongs to.
func (s *Settings) audience(scope string) *Audience {
	return map[string]*Audience{
		"lastSeen": &s.LastSeen, "photo": &s.Photo, "description": &s.Description, "groupAdd": &s.GroupAdd,
	}[scope]
}

// A route is one endpoint. It takes at most one value.
type route struct {
	method  string
	takes   place
	name    string   // of the query parameter or member that holds the value
	values  []string // allowed ones
	respond func(*instance, input) Answer
}

// A place is where a request has its value. A body is a JSON object.
type place int

const nothing, query, body place = 0, 1, 2

const (
	statusOp         = "status"
	contactBlacklist = "CONTACT_BLACKLIST"
	notConnected     = "You are not connected."
)

// The values are written out here and not taken from zapi, so that a mistake there shows in a test.
var (
	visibilities = []string{"ALL", "NONE", "CONTACTS", contactBlacklist}
	scopes       = []string{"lastSeen", "photo", "description", "groupAdd"}

	routes = map[string]route{
		"privacy/last-seen":   {http.MethodPost, body, "visualizationType", visibilities, setAudience("lastSeen")},
		"privacy/photo":       {http.MethodPost, body, "visualizationType", visibilities, setAudience("photo")},
		"privacy/description": {http.MethodPost, body, "visualizationType", visibilities, setAudience("description")},
		"privacy/group-add": {http.MethodPost, body, "type", []string{"ALL", "CONTACTS", contactBlacklist},
			setAudience("groupAdd")},
		"privacy/online": {http.MethodPost, body, "visualizationType", []string{"ALL", "SAME_LAST_SEEN"},
			set(func(s *Settings) *zapi.OnlineVisibility { return &s.Online })},
		"privacy/read-receipts": {http.MethodPost, query, "value", []string{"enable", "disable"},
			set(func(s *Settings) *zapi.ReadReceipts { return &s.ReadReceipts })},
		"privacy/messages-duration": {http.MethodPost, query, "value", []string{"hours24", "days7", "days90", "disable"},
			set(func(s *Settings) *zapi.MessageDuration { return &s.MessageDuration })},
		"privacy/disallowed-contacts": {http.MethodGet, query, "type", scopes, disallowedContacts},
		statusOp:                      {http.MethodGet, nothing, "", nil, status},
	}
)

// input is what a request asks for.
type input struct {
	value   string
	changes []zapi.BlacklistChange // only with CONTACT_BLACKLIST
}

// set responds for a setting that is no more than its value.
func set[T ~string](field func(*Settings) *T) func(*instance, input) Answer {
	return func(known *instance, in input) Answer {
		*field(&known.settings) = T(in.value)
		return success
	}
}

// setAudience responds for a setting with a blacklist. It changes visibility and list together, or neither.
func setAudience(scope string) func(*instance, input) Answer {
	return func(known *instance, in input) Answer {
		audience := known.settings.audience(scope)
		blacklist, ok := changeBlacklist(audience.Blacklist, in.changes)
		if !ok {
			return refuse(http.StatusBadRequest, "Invalid phone")
		}
		*audience = Audience{zapi.Visibility(in.value), blacklist}
		return success
	}
}

func disallowedContacts(known *instance, in input) Answer {
	contacts := append([]string{}, known.settings.audience(in.value).Blacklist...) // an empty list is [], not null
	body, _ := json.Marshal(map[string][]string{"disallowedContacts": contacts})   // strings cannot fail
	return Answer{Body: string(body)}
}

func status(known *instance, _ input) Answer {
	text := notConnected
	if known.connected {
		text = "You are already connected."
	}
	return Answer{Body: fmt.Sprintf(`{"connected":%t,"smartphoneConnected":true,"error":%q}`, known.connected, text)}
}

// wirePhone is the form of a contact in a request: no "+" and no spaces.
var wirePhone = regexp.MustCompile(`^([1-9][0-9]{6,14}|[0-9]{1,20}@lid)$`)

// ninthDigit matches a Brazilian mobile number as everyone dials it: 55, the area code, a 9 and eight digits. Where those
// begin with 2 to 5, the number without the 9 is a landline, and another contact.
var ninthDigit = regexp.MustCompile(`^(55[1-9][1-9])9([6-9][0-9]{7})$`)

// identity returns the same text for both forms of a contact.
func identity(contact string) string { return ninthDigit.ReplaceAllString(contact, "$1$2") }

// changeBlacklist returns list with all changes, and whether their phones are allowed. A contact of another form can
// only be removed, as a client may find one on a list.
func changeBlacklist(list []string, changes []zapi.BlacklistChange) (changed []string, ok bool) {
	contacts := make(map[string][]string, len(list)+len(changes)) // as they are listed, by identity
	for _, contact := range list {
		contacts[identity(contact)] = append(contacts[identity(contact)], contact)
	}
	for _, c := range changes {
		id, remove := identity(c.Phone), c.Action == "remove"
		removable := remove && contacts[id] != nil && strings.TrimSpace(c.Phone) != ""
		switch {
		case !wirePhone.MatchString(c.Phone) && !removable:
			return nil, false
		case remove:
			delete(contacts, id)
		case contacts[id] == nil:
			contacts[id] = []string{c.Phone}
		}
	}
	changed = slices.Concat(slices.Collect(maps.Values(contacts))...)
	slices.Sort(changed)
	return changed, true
}

// read returns what a request asks of r, or what is wrong with the request.
func (r route) read(rawQuery string, data []byte) (in input, refusal string) {
	switch {
	case r.takes != query && rawQuery != "":
		return input{}, "Invalid query: must be empty"
	case r.takes == body:
		return r.readBody(data)
	case len(data) > 0:
		return input{}, "Invalid request body: must be empty"
	case r.takes == query:
		return r.readQuery(rawQuery)
	}
	return input{}, ""
}

func (r route) readQuery(rawQuery string) (in input, refusal string) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(values) != 1 || len(values[r.name]) != 1 {
		return input{}, "Invalid query: must be one " + r.name + " and nothing else"
	}
	in.value = values.Get(r.name)
	return in, r.check(in.value)
}

func (r route) readBody(data []byte) (in input, refusal string) {
	members, refusal := parseObject(data, r.name, "contactsBlacklist")
	if refusal != "" {
		return input{}, refusal
	}
	in.value = textOf(members[r.name])
	if refusal = r.check(in.value); refusal != "" {
		return input{}, refusal
	}
	list, sent := members["contactsBlacklist"]
	switch {
	case in.value == contactBlacklist:
		in.changes, refusal = parseChanges(list)
	case sent:
		refusal = "contactsBlacklist is allowed only with CONTACT_BLACKLIST"
	}
	return in, refusal
}

func (r route) check(value string) (refusal string) {
	if !slices.Contains(r.values, value) {
		return "Invalid " + r.name
	}
	return ""
}

// parseChanges returns the elements of contactsBlacklist; data is nil if the request has none.
func parseChanges(data json.RawMessage) (changes []zapi.BlacklistChange, refusal string) {
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil || elements == nil {
		return nil, "contactsBlacklist must be sent as a list with CONTACT_BLACKLIST"
	}
	for _, element := range elements {
		members, refusal := parseObject(element, "action", "phone")
		if refusal != "" {
			return nil, refusal
		}
		action := textOf(members["action"])
		if action != "add" && action != "remove" {
			return nil, "Invalid action"
		}
		changes = append(changes, zapi.BlacklistChange{Action: zapi.BlacklistAction(action), Phone: textOf(members["phone"])})
	}
	return changes, ""
}

// parseObject returns the members of the JSON object in data. encoding/json by itself would accept names in any case,
// and repeated ones.
func parseObject(data []byte, names ...string) (members map[string]json.RawMessage, refusal string) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, _ := decoder.Token(); start != json.Delim('{') || !json.Valid(data) {
		return nil, "Invalid request body: expected a JSON object"
	}
	members = make(map[string]json.RawMessage, len(names))
	for decoder.More() {
		token, _ := decoder.Token() // cannot fail: data is valid
		name, _ := token.(string)
		if _, repeated := members[name]; repeated || !slices.Contains(names, name) {
			return nil, fmt.Sprintf("Invalid request body: member %q is unknown or repeated", name)
		}
		var value json.RawMessage
		_ = decoder.Decode(&value) // cannot fail either
		members[name] = value
	}
	return members, ""
}

// textOf returns the value of a JSON string. For anything else it is empty, which no allowed value is.
func textOf(data json.RawMessage) (text string) {
	_ = json.Unmarshal(data, &text)
	return text
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json" // ParseMediaType returns it in lower case
}

var (
	success  = Answer{Body: `{"success":true}`}
	notFound = Answer{Body: `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`}
)

func refuse(statusCode int, text string) Answer {
	body, _ := json.Marshal(map[string]string{"error": text}) // strings cannot fail
	return Answer{StatusCode: statusCode, Body: string(body)}
}
