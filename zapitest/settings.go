package zapitest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/zapi-go/zapi"
)

// Settings is the privacy of one instance.
type Settings struct {
	LastSeen        Audience
	Photo           Audience
	Description     Audience
	GroupAdd        Audience // who may add to groups; never NONE
	Online          zapi.OnlineVisibility
	ReadReceipts    zapi.ReadReceipts
	MessageDuration zapi.MessageDuration
}

// Audience is a setting with a blacklist. The list outlives a change to another visibility, as it does in the API.
type Audience struct {
	Visibility zapi.Visibility
	Blacklist  []string // sorted; nil when empty
}

func newSettings() Settings {
	everyone := Audience{Visibility: zapi.VisibilityAll}
	return Settings{
		LastSeen: everyone, Photo: everyone, Description: everyone, GroupAdd: everyone,
		Online: zapi.OnlineAll, ReadReceipts: zapi.ReadReceiptsEnable, MessageDuration: zapi.MessageDurationDisable,
	}
}

func (s Settings) clone() Settings {
	for _, scope := range []zapi.BlacklistScope{zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd} {
		audience := s.audience(scope)
		audience.Blacklist = slices.Clone(audience.Blacklist)
	}
	return s
}

// audience is the setting that a blacklist belongs to; nil for an unknown scope.
func (s *Settings) audience(scope zapi.BlacklistScope) *Audience {
	switch scope {
	case zapi.BlacklistLastSeen:
		return &s.LastSeen
	case zapi.BlacklistPhoto:
		return &s.Photo
	case zapi.BlacklistDescription:
		return &s.Description
	case zapi.BlacklistGroupAdd:
		return &s.GroupAdd
	}
	return nil
}

// route is one endpoint: how it is called, and what it does to the settings.
type route struct {
	method string
	serve  func(s *Settings, query url.Values, body []byte) Answer
}

var routes = map[string]route{
	"privacy/last-seen":           {http.MethodPost, setVisibility(zapi.BlacklistLastSeen)},
	"privacy/photo":               {http.MethodPost, setVisibility(zapi.BlacklistPhoto)},
	"privacy/description":         {http.MethodPost, setVisibility(zapi.BlacklistDescription)},
	"privacy/group-add":           {http.MethodPost, setGroupAdd},
	"privacy/online":              {http.MethodPost, setOnline},
	"privacy/read-receipts":       {http.MethodPost, setValue(func(s *Settings) *zapi.ReadReceipts { return &s.ReadReceipts })},
	"privacy/messages-duration":   {http.MethodPost, setValue(func(s *Settings) *zapi.MessageDuration { return &s.MessageDuration })},
	"privacy/disallowed-contacts": {http.MethodGet, disallowedContacts},
}

func setVisibility(scope zapi.BlacklistScope) func(*Settings, url.Values, []byte) Answer {
	return func(s *Settings, _ url.Values, body []byte) Answer {
		var request struct {
			Visibility string    `json:"visualizationType"`
			Blacklist  *[]change `json:"contactsBlacklist"`
		}
		if refusal := decode(body, &request); refusal != "" {
			return refuse(http.StatusBadRequest, refusal, "")
		}
		if !zapi.Visibility(request.Visibility).Valid() {
			return refuse(http.StatusBadRequest, "Invalid visualizationType", "")
		}
		return s.audience(scope).set(request.Visibility, request.Blacklist)
	}
}

func setGroupAdd(s *Settings, _ url.Values, body []byte) Answer {
	var request struct {
		Permission string    `json:"type"`
		Blacklist  *[]change `json:"contactsBlacklist"`
	}
	if refusal := decode(body, &request); refusal != "" {
		return refuse(http.StatusBadRequest, refusal, "")
	}
	if !zapi.GroupAddPermission(request.Permission).Valid() {
		return refuse(http.StatusBadRequest, "Invalid type", "")
	}
	return s.GroupAdd.set(request.Permission, request.Blacklist)
}

// set changes visibility and list together, or neither.
func (a *Audience) set(visibility string, changes *[]change) Answer {
	takesBlacklist := visibility == string(zapi.VisibilityContactBlacklist)
	if refusal := changeBlacklist(&a.Blacklist, takesBlacklist, changes); refusal != "" {
		return refuse(http.StatusBadRequest, refusal, "")
	}
	a.Visibility = zapi.Visibility(visibility)
	return success
}

// setValue serves the settings whose value is in the query and nothing in the body.
func setValue[T interface {
	~string
	Valid() bool
}](of func(*Settings) *T) func(*Settings, url.Values, []byte) Answer {
	return func(s *Settings, query url.Values, body []byte) Answer {
		value := T(query.Get("value"))
		if !value.Valid() || len(body) > 0 {
			return refuse(http.StatusBadRequest, "Invalid value", "")
		}
		*of(s) = value
		return success
	}
}

func disallowedContacts(s *Settings, query url.Values, _ []byte) Answer {
	audience := s.audience(zapi.BlacklistScope(query.Get("type")))
	if audience == nil {
		return refuse(http.StatusBadRequest, "Invalid type", "")
	}
	body, _ := json.Marshal(map[string][]string{"disallowedContacts": append([]string{}, audience.Blacklist...)}) // strings cannot fail
	return Answer{Body: string(body)}
}

func setOnline(s *Settings, _ url.Values, body []byte) Answer {
	var request struct {
		Visibility string `json:"visualizationType"`
	}
	if refusal := decode(body, &request); refusal != "" {
		return refuse(http.StatusBadRequest, refusal, "")
	}
	visibility := zapi.OnlineVisibility(request.Visibility)
	if !visibility.Valid() {
		return refuse(http.StatusBadRequest, "Invalid visualizationType", "")
	}
	s.Online = visibility
	return success
}

// change is a [zapi.BlacklistChange] that has not been looked at yet.
type change struct {
	Action string `json:"action"`
	Phone  string `json:"phone"`
}

// changeBlacklist applies all changes to list or none, and says what is wrong with them.
func changeBlacklist(list *[]string, takesBlacklist bool, changes *[]change) (refusal string) {
	switch {
	case !takesBlacklist && changes != nil:
		return "contactsBlacklist goes with CONTACT_BLACKLIST only"
	case takesBlacklist && changes == nil:
		return "contactsBlacklist must be sent with CONTACT_BLACKLIST"
	case !takesBlacklist:
		return ""
	}
	contacts := make(map[string]bool, len(*list)+len(*changes))
	for _, phone := range *list {
		contacts[phone] = true
	}
	for _, c := range *changes {
		action := zapi.BlacklistAction(c.Action)
		switch {
		case !action.Valid():
			return "Invalid action"
		case !wirePhone.MatchString(c.Phone):
			return "Invalid phone"
		}
		contacts[c.Phone] = action == zapi.BlacklistAdd
	}
	var kept []string
	for phone, on := range contacts {
		if on {
			kept = append(kept, phone)
		}
	}
	slices.Sort(kept)
	*list = kept
	return ""
}

// wirePhone is how a contact stands in a request: no "+", no blanks.
var wirePhone = regexp.MustCompile(`^([0-9]{7,15}|[0-9]+@lid)$`)

// decode reads one JSON object without unknown keys, and says what is wrong with it.
func decode(body []byte, request any) (refusal string) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(request); err != nil {
		return "Invalid request body"
	}
	if _, err := decoder.Token(); err != io.EOF {
		return "Invalid request body"
	}
	return ""
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && strings.EqualFold(mediaType, "application/json")
}

var success = Answer{Body: `{"success":true}`}

func refuse(status int, code, message string) Answer {
	body, _ := json.Marshal(struct {
		Error   string `json:"error"`
		Message string `json:"message,omitempty"`
	}{code, message}) // strings cannot fail
	return Answer{StatusCode: status, Body: string(body)}
}
