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
	LastSeen Audience
	Photo    Audience
	Online   zapi.OnlineVisibility
}

// Audience is a setting with a blacklist. The list outlives a change to another visibility, as it does in the API.
type Audience struct {
	Visibility zapi.Visibility
	Blacklist  []string // sorted
}

func newSettings() Settings {
	everyone := Audience{Visibility: zapi.VisibilityAll}
	return Settings{LastSeen: everyone, Photo: everyone, Online: zapi.OnlineAll}
}

func (s Settings) clone() Settings {
	s.LastSeen.Blacklist = slices.Clone(s.LastSeen.Blacklist)
	s.Photo.Blacklist = slices.Clone(s.Photo.Blacklist)
	return s
}

// route is one endpoint: how it is called, and what it does to the settings.
type route struct {
	method string
	serve  func(s *Settings, query url.Values, body []byte) Answer
}

var routes = map[string]route{
	"privacy/last-seen": {http.MethodPost, setAudience(func(s *Settings) *Audience { return &s.LastSeen })},
	"privacy/photo":     {http.MethodPost, setAudience(func(s *Settings) *Audience { return &s.Photo })},
	"privacy/online":    {http.MethodPost, setOnline},
}

func setAudience(of func(*Settings) *Audience) func(*Settings, url.Values, []byte) Answer {
	return func(s *Settings, _ url.Values, body []byte) Answer {
		var request struct {
			Visibility string    `json:"visualizationType"`
			Blacklist  *[]change `json:"contactsBlacklist"`
		}
		if refusal := decode(body, &request); refusal != "" {
			return refuse(http.StatusBadRequest, refusal, "")
		}
		visibility := zapi.Visibility(request.Visibility)
		if !visibility.Valid() {
			return refuse(http.StatusBadRequest, "Invalid visualizationType", "")
		}
		audience := of(s)
		takesBlacklist := visibility == zapi.VisibilityContactBlacklist
		if refusal := changeBlacklist(&audience.Blacklist, takesBlacklist, request.Blacklist); refusal != "" {
			return refuse(http.StatusBadRequest, refusal, "")
		}
		audience.Visibility = visibility
		return success
	}
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
	kept := make([]string, 0, len(contacts))
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
