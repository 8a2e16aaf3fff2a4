package zapitest_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const (
	succeeded = `{"success":true}`
	notFound  = `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`
	mediaType = "application/json"
	healthy   = `{"connected":true,"smartphoneConnected":true,"error":"You are already connected."}`
	offline   = `{"connected":false,"smartphoneConnected":true,"error":"You are not connected."}`
)

// wire is a request that no client of this module would send.
type wire struct {
	method, path, body string // {id} and {token} in path stand for those of the first instance
	header             http.Header
}

// post returns a POST that is right but for its op and body.
func post(op, body string) wire {
	return wire{method: http.MethodPost, path: "/instances/{id}/token/{token}/" + op, body: body}
}

func get(op string) wire {
	return wire{method: http.MethodGet, path: "/instances/{id}/token/{token}/" + op}
}

// with replaces a header; without values it is not sent.
func (w wire) with(name string, values ...string) wire {
	w.header = w.header.Clone()
	if w.header == nil {
		w.header = http.Header{}
	}
	w.header[name] = values
	return w
}

func send(t *testing.T, server *zapitest.Server, w wire) (status int, body string) {
	t.Helper()
	creds := server.Credentials()
	path := strings.NewReplacer("{id}", creds.InstanceID, "{token}", creds.Token).Replace(w.path)
	req, err := http.NewRequestWithContext(t.Context(), w.method, server.URL()+path, strings.NewReader(w.body))
	require.NoError(t, err)
	if w.method != http.MethodGet {
		req.Header.Set("Content-Type", mediaType)
	}
	req.Header.Set("Client-Token", creds.ClientToken)
	maps.Copy(req.Header, w.header)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { assert.NoError(t, resp.Body.Close()) }()
	read, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, mediaType, resp.Header.Get("Content-Type"))
	return resp.StatusCode, string(read)
}

func TestRequests(t *testing.T) {
	t.Parallel()
	const (
		all         = `{"visualizationType":"ALL"}`
		notJSON     = `{"error":"UNSUPPORTED_MEDIA_TYPE"}`
		notAllowed  = `{"error":"METHOD_NOT_ALLOWED"}`
		noInstance  = `{"error":"Instance not found"}`
		noObject    = `{"error":"Invalid request body: expected a JSON object"}`
		noBody      = `{"error":"Invalid request body: must be empty"}`
		noQuery     = `{"error":"Invalid query: must be empty"}`
		oneValue    = `{"error":"Invalid query: must be one value and nothing else"}`
		oneType     = `{"error":"Invalid query: must be one type and nothing else"}`
		noValue     = `{"error":"Invalid visualizationType"}`
		noList      = `{"error":"contactsBlacklist must be sent as a list with CONTACT_BLACKLIST"}`
		strayList   = `{"error":"contactsBlacklist is allowed only with CONTACT_BLACKLIST"}`
		noAction    = `{"error":"Invalid action"}`
		noPhone     = `{"error":"Invalid phone"}`
		lastSeen    = "privacy/last-seen"
		photo       = "privacy/photo"
		description = "privacy/description"
		groupAdd    = "privacy/group-add"
		online      = "privacy/online"
		receipts    = "privacy/read-receipts"
		duration    = "privacy/messages-duration"
		contacts    = "privacy/disallowed-contacts"
	)
	stray := func(name string) string {
		return `{"error":"Invalid request body: member \"` + name + `\" is unknown or repeated"}`
	}
	listed := func(changes string) string {
		return `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":` + changes + `}`
	}
	add := func(phone string) string { return listed(`[{"action":"add","phone":"` + phone + `"}]`) }
	tests := []struct {
		name   string
		send   wire
		status int
		want   string
	}{
		{"last seen", post(lastSeen, `{"visualizationType":"NONE"}`), 200, succeeded},
		{"photo", post(photo, `{"visualizationType":"CONTACTS"}`), 200, succeeded},
		{"description", post(description, `{"visualizationType":"NONE"}`), 200, succeeded},
		{"group add", post(groupAdd, `{"type":"CONTACTS"}`), 200, succeeded},
		{"group add with a list", post(groupAdd, `{"type":"CONTACT_BLACKLIST","contactsBlacklist":[]}`), 200, succeeded},
		{"online", post(online, `{"visualizationType":"SAME_LAST_SEEN"}`), 200, succeeded},
		{"read receipts", post(receipts+"?value=disable", ""), 200, succeeded},
		{"message duration", post(duration+"?value=hours24", ""), 200, succeeded},
		{"contacts", get(contacts + "?type=groupAdd"), 200, `{"disallowedContacts":["554400000001"]}`},
		{"no contacts", get(contacts + "?type=photo"), 200, `{"disallowedContacts":[]}`},
		{"status", get("status"), 200, healthy},

		{"unknown route", post("privacy/lastseen", all), 200, notFound},
		{"closing slash", post(online+"/", all), 200, notFound},
		{"path without an instance", wire{method: "POST", path: "/" + online, body: all}, 200, notFound},
		{"path of another form", wire{method: "POST", path: "/instance/{id}/token/{token}/" + online, body: all}, 200, notFound},
		{"empty instance", wire{method: "POST", path: "/instances//token/{token}/" + online, body: all}, 200, notFound},
		{"route beside the privacy", get("device"), 200, notFound},
		{"contacts without privacy", get("disallowed-contacts?type=photo"), 200, notFound},
		{"PUT", wire{method: "PUT", path: "/instances/{id}/token/{token}/" + online, body: all}, 405, notAllowed},
		{"GET of a setting", get(receipts + "?value=disable"), 405, notAllowed},
		{"POST of status", post("status", ""), 405, notAllowed},
		{"POST of contacts", post(contacts+"?type=photo", ""), 405, notAllowed},
		{"unknown instance", wire{method: "POST", path: "/instances/X/token/{token}/" + online, body: all}, 404, noInstance},
		{"wrong token", wire{method: "POST", path: "/instances/{id}/token/X/" + online, body: all}, 404, noInstance},
		{"no Client-Token", post(online, all).with("Client-Token"), 400, `{"error":"your client-token is not configured"}`},
		{"wrong Client-Token", post(online, all).with("Client-Token", "F12345"), 403, `{"error":"Client-Token F12345 not allowed"}`},
		{"status without Client-Token", get("status").with("Client-Token"), 400, `{"error":"your client-token is not configured"}`},
		{"charset", post(photo, `{"visualizationType":"NONE"}`).with("Content-Type", "Application/JSON; charset=utf-8"), 200, succeeded},
		{"no content type", post(online, all).with("Content-Type"), 415, notJSON},
		{"no content type, no body", post(receipts+"?value=disable", "").with("Content-Type"), 415, notJSON},
		{"another content type", post(online, all).with("Content-Type", "text/plain"), 415, notJSON},

		{"empty body", post(lastSeen, ""), 400, noObject},
		{"form", post(online, "visualizationType=ALL"), 400, noObject},
		{"null", post(online, "null"), 400, noObject},
		{"list", post(online, "["+all+"]"), 400, noObject},
		{"truncated", post(online, `{"visualizationType":"ALL"`), 400, noObject},
		{"two objects", post(online, all+all), 400, noObject},
		{"unknown member", post(photo, `{"visualizationType":"ALL","value":"ALL"}`), 400, stray("value")},
		{"another case", post(photo, `{"VisualizationType":"ALL"}`), 400, stray("VisualizationType")},
		{"both cases", post(photo, `{"visualizationType":"ALL","visualizationtype":"ALL"}`), 400, stray("visualizationtype")},
		{"list in another case", post(photo, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlackList":[]}`), 400, stray("contactsBlackList")},
		{"repeated value", post(online, `{"visualizationType":"ALL","visualizationType":"ALL"}`), 400, stray("visualizationType")},
		{"repeated list", post(photo, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[],"contactsBlacklist":[]}`), 400, stray("contactsBlacklist")},
		{"repeated list of null", post(photo, `{"contactsBlacklist":null,"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[]}`), 400, stray("contactsBlacklist")},
		{"member of another setting", post(groupAdd, all), 400, stray("visualizationType")},
		{"query beside a body", post(online+"?visualizationType=ALL", all), 400, noQuery},
		{"query in place of a body", post(photo+"?visualizationType=ALL", ""), 400, noQuery},

		{"no value", post(online, `{}`), 400, noValue},
		{"null value", post(online, `{"visualizationType":null}`), 400, noValue},
		{"number", post(online, `{"visualizationType":1}`), 400, noValue},
		{"value in another case", post(photo, `{"visualizationType":"all"}`), 400, noValue},
		{"value of last seen for online", post(online, `{"visualizationType":"CONTACTS"}`), 400, noValue},
		{"value of online for photo", post(photo, `{"visualizationType":"SAME_LAST_SEEN"}`), 400, noValue},
		{"no one for group add", post(groupAdd, `{"type":"NONE"}`), 400, `{"error":"Invalid type"}`},

		{"no list", post(photo, `{"visualizationType":"CONTACT_BLACKLIST"}`), 400, noList},
		{"null list", post(photo, listed("null")), 400, noList},
		{"list as an object", post(photo, listed("{}")), 400, noList},
		{"stray list", post(photo, `{"visualizationType":"ALL","contactsBlacklist":[]}`), 400, strayList},
		{"stray null", post(lastSeen, `{"visualizationType":"NONE","contactsBlacklist":null}`), 400, strayList},
		{"stray list of group add", post(groupAdd, `{"type":"ALL","contactsBlacklist":[]}`), 400, strayList},
		{"list of online", post(online, `{"visualizationType":"ALL","contactsBlacklist":[]}`), 400, strayList},

		{"change of null", post(photo, listed(`[null]`)), 400, noObject},
		{"change as a string", post(photo, listed(`["554411111111"]`)), 400, noObject},
		{"change with an unknown member", post(photo, listed(`[{"action":"add","phone":"554411111111","name":"Ana"}]`)), 400, stray("name")},
		{"change in another case", post(photo, listed(`[{"Action":"add","phone":"554411111111"}]`)), 400, stray("Action")},
		{"change with two phones", post(photo, listed(`[{"action":"add","phone":"554411111111","phone":"554422222222"}]`)), 400, stray("phone")},
		{"change without action", post(photo, listed(`[{"phone":"554411111111"}]`)), 400, noAction},
		{"unknown action", post(photo, listed(`[{"action":"Add","phone":"554411111111"}]`)), 400, noAction},
		{"change without phone", post(photo, listed(`[{"action":"add"}]`)), 400, noPhone},
		{"phone as a number", post(photo, listed(`[{"action":"add","phone":554411111111}]`)), 400, noPhone},

		{"shortest phone", post(photo, add("1234567")), 200, succeeded},
		{"longest phone", post(photo, add("123456789012345")), 200, succeeded},
		{"shortest private id", post(photo, add("0@lid")), 200, succeeded},
		{"longest private id", post(photo, add("12345678901234567890@lid")), 200, succeeded},
		{"phone too short", post(photo, add("123456")), 400, noPhone},
		{"phone too long", post(photo, add("1234567890123456")), 400, noPhone},
		{"leading zero", post(photo, add("0554411111111")), 400, noPhone},
		{"plus", post(photo, add("+554411111111")), 400, noPhone},
		{"mask", post(photo, add("55 44 1111-1111")), 400, noPhone},
		{"line end", post(photo, add(`554411111111\n`)), 400, noPhone},
		{"other digits", post(photo, add("٥٥٤٤١١١١١١١١")), 400, noPhone},
		{"empty phone", post(photo, add("")), 400, noPhone},
		{"private id without digits", post(photo, add("@lid")), 400, noPhone},
		{"private id too long", post(photo, add("123456789012345678901@lid")), 400, noPhone},
		{"contact of another form", post(photo, add("554411111111@c.us")), 400, noPhone},
		{"unlisted contact of another form", post(photo, listed(`[{"action":"remove","phone":"554411111111@c.us"}]`)), 400, noPhone},

		{"no query", post(receipts, ""), 400, oneValue},
		{"value in the body", post(receipts, `{"value":"enable"}`), 400, noBody},
		{"body beside the query", post(duration+"?value=days7", "{}"), 400, noBody},
		{"two values", post(receipts+"?value=disable&value=disable", ""), 400, oneValue},
		{"another parameter", post(receipts+"?value=disable&groups=true", ""), 400, oneValue},
		{"parameter in another case", post(receipts+"?Value=disable", ""), 400, oneValue},
		{"malformed query", post(receipts+"?value=disable&%zz", ""), 400, oneValue},
		{"empty value", post(receipts+"?value=", ""), 400, `{"error":"Invalid value"}`},
		{"unknown value", post(receipts+"?value=true", ""), 400, `{"error":"Invalid value"}`},
		{"value of read receipts for duration", post(duration+"?value=enable", ""), 400, `{"error":"Invalid value"}`},
		{"contacts of all types", get(contacts), 400, oneType},
		{"contacts of two types", get(contacts + "?type=photo&type=groupAdd"), 400, oneType},
		{"contacts and a page", get(contacts + "?type=photo&page=1"), 400, oneType},
		{"contacts of an unknown type", get(contacts + "?type=online"), 400, `{"error":"Invalid type"}`},
		{"status with a query", get("status?type=photo"), 400, noQuery},
		{"status with a body", wire{method: "GET", path: "/instances/{id}/token/{token}/status", body: "{}"}, 400, noBody},
		{"contacts by a body", wire{method: "GET", path: "/instances/{id}/token/{token}/" + contacts + "?type=photo", body: "{}"}, 400, noBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			id := server.Credentials().InstanceID
			before := server.Settings(id)
			before.GroupAdd.Blacklist = []string{"554400000001"}
			server.SetSettings(id, before)

			status, body := send(t, server, tt.send)
			assert.Equal(t, tt.status, status)
			assert.Equal(t, tt.want, body)
			if tt.want == succeeded {
				assert.NotEqual(t, before, server.Settings(id))
			} else {
				assert.Equal(t, before, server.Settings(id))
			}
			requests := server.Requests()
			require.Len(t, requests, 1)
			assert.Equal(t, tt.send.method, requests[0].Method)
			assert.Equal(t, tt.send.body, string(requests[0].Body))
			assert.Equal(t, tt.status, requests[0].StatusCode)
		})
	}
}

// TestChangesAreAppliedTogether sends changes of which one is refused.
func TestChangesAreAppliedTogether(t *testing.T) {
	t.Parallel()
	server := start(t)
	before := server.Settings(server.Credentials().InstanceID)
	status, _ := send(t, server, post("privacy/photo", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[
		{"action":"add","phone":"554411111111"},{"action":"add","phone":"5544"}]}`))
	assert.Equal(t, 400, status)
	assert.Equal(t, before, server.Settings(server.Credentials().InstanceID))
}

func TestRemovingListedContacts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contact string
		status        int
	}{
		{"of another form", "554411111111@c.us", 200},
		{"masked", "+55 44 1111-1111", 200},
		{"empty", "", 400},
		{"spaces", "  ", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			id := server.Credentials().InstanceID
			settings := server.Settings(id)
			settings.LastSeen = zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{tt.contact, "554422222222"}}
			server.SetSettings(id, settings)
			change := func(action string) (int, string) {
				return send(t, server, post("privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[`+
					`{"action":"`+action+`","phone":"`+tt.contact+`"}]}`))
			}

			status, _ := change("add")
			assert.Equal(t, 400, status, "it cannot be added")
			status, _ = change("remove")
			assert.Equal(t, tt.status, status)
			if tt.status == 200 {
				assert.Equal(t, []string{"554422222222"}, server.Settings(id).LastSeen.Blacklist)
			} else {
				assert.Contains(t, server.Settings(id).LastSeen.Blacklist, tt.contact)
			}
		})
	}
}

func TestSetConnected(t *testing.T) {
	t.Parallel()
	const refused = `{"error":"You are not connected."}`
	all := map[string]string{
		"privacy/last-seen": `{"visualizationType":"NONE"}`, "privacy/photo": `{"visualizationType":"NONE"}`,
		"privacy/description": `{"visualizationType":"NONE"}`, "privacy/group-add": `{"type":"CONTACTS"}`,
		"privacy/online": `{"visualizationType":"SAME_LAST_SEEN"}`, "privacy/read-receipts?value=disable": "",
		"privacy/messages-duration?value=days7": "",
	}
	server := start(t)
	id := server.Credentials().InstanceID
	before := server.Settings(id)
	other, err := client(t, server).ForInstance(server.AddInstance())
	require.NoError(t, err)
	check := func(w wire, wantStatus int, want string) {
		t.Helper()
		status, body := send(t, server, w)
		assert.Equal(t, wantStatus, status, w)
		assert.Equal(t, want, body, w)
	}

	server.SetConnected(id, false)
	check(get("status"), 200, offline)
	for op, body := range all {
		check(post(op, body), 400, refused)
	}
	check(get("privacy/disallowed-contacts?type=photo"), 400, refused)
	assert.Equal(t, before, server.Settings(id))
	check(post("privacy/photo", `{}`), 400, `{"error":"Invalid visualizationType"}`)
	check(post("privacy/photo", `{}`).with("Client-Token"), 400, `{"error":"your client-token is not configured"}`)
	check(get("device"), 200, notFound)
	require.NoError(t, other.SetPhotoVisibility(t.Context(), zapi.VisibilityNone), "another instance stays connected")

	server.FailWhen(func(r zapitest.Request) bool { return r.Op == "device" }, zapitest.Answer{Body: `{"phone":"554491111111"}`})
	check(get("device"), 200, `{"phone":"554491111111"}`)

	server.SetConnected(id, true)
	check(get("status"), 200, healthy)
	for op, body := range all {
		check(post(op, body), 200, succeeded)
	}
	check(get("privacy/disallowed-contacts?type=photo"), 200, `{"disallowedContacts":[]}`)

	server.SetConnected(id, false)
	server.AddInstanceWith(server.Credentials())
	check(get("status"), 200, healthy)
}

func TestNinthDigit(t *testing.T) {
	t.Parallel()
	add := func(phone string) string { return `{"action":"add","phone":"` + phone + `"}` }
	remove := func(phone string) string { return `{"action":"remove","phone":"` + phone + `"}` }
	const (
		dialed = "5544991111111"
		known  = "554491111111" // the form of WhatsApp
	)
	tests := []struct {
		name    string
		listed  []string
		changes []string
		want    []string
	}{
		{"add the form that is dialed", []string{known}, []string{add(dialed)}, []string{known}},
		{"add the form of WhatsApp", []string{dialed}, []string{add(known)}, []string{dialed}},
		{"add again", []string{known}, []string{add(known)}, []string{known}},
		{"add to nothing", nil, []string{add(dialed)}, []string{dialed}},
		{"add both", nil, []string{add(known), add(dialed)}, []string{known}},
		{"remove the form that is dialed", []string{known, "5544911112222"}, []string{remove(dialed)}, []string{"5544911112222"}},
		{"remove the form of WhatsApp", []string{dialed}, []string{remove(known)}, nil},
		{"remove as it is listed", []string{known}, []string{remove(known)}, nil},
		{"remove what is not listed", []string{known}, []string{remove("5544992222222")}, []string{known}},
		{"replace the form", []string{known}, []string{remove(known), add(dialed)}, []string{dialed}},
		{"add and remove", nil, []string{add(dialed), remove(known)}, nil},
		{"both listed, another added", []string{known, dialed}, []string{add("1234567")}, []string{"1234567", known, dialed}},
		{"both listed, one removed", []string{known, dialed}, []string{remove(known)}, nil},

		{"smallest first digit", []string{"554460000000"}, []string{add("5544960000000")}, []string{"554460000000"}},
		{"largest numbers", []string{"559999999999"}, []string{add("5599999999999")}, []string{"559999999999"}},
		{"smallest area code", []string{"551191111111"}, []string{remove("5511991111111")}, nil},
		{"landline", []string{"554451111111"}, []string{add("5544951111111")}, []string{"554451111111", "5544951111111"}},
		{"landline removed", []string{"554421111111"}, []string{remove("5544921111111")}, []string{"554421111111"}},
		{"area code that ends in 0", []string{"551091111111"}, []string{add("5510991111111")}, []string{"551091111111", "5510991111111"}},
		{"area code that begins with 0", []string{"550191111111"}, []string{add("5501991111111")}, []string{"550191111111", "5501991111111"}},
		{"another country", []string{"544491111111"}, []string{add("5444991111111")}, []string{"544491111111", "5444991111111"}},
		{"another digit", []string{known}, []string{add("5544891111111")}, []string{"5544891111111", known}},
		{"one digit more", []string{"5544911111111"}, []string{add("55449911111111")}, []string{"5544911111111", "55449911111111"}},
		{"private id", []string{known + "@lid"}, []string{add(dialed + "@lid")}, []string{known + "@lid", dialed + "@lid"}},
		{"a contact and a private id", []string{known}, []string{add(dialed + "@lid")}, []string{known, dialed + "@lid"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			id := server.Credentials().InstanceID
			settings := server.Settings(id)
			settings.Photo.Blacklist = tt.listed
			server.SetSettings(id, settings)
			status, body := send(t, server, post("privacy/photo",
				`{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[`+strings.Join(tt.changes, ",")+`]}`))
			require.Equal(t, 200, status, body)
			assert.Equal(t, tt.want, server.Settings(id).Photo.Blacklist)
		})
	}
}
