#!/usr/bin/python3
"""Runs Tempest's own tests of the networking API, unmodified, against the cloud of the environment.

    . DIR/openrc
    test/conformance/tempest/run.py [--regex REGEX] [--concurrency N] [--output FILE] WORKDIR

It needs an administrator (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME ...), since Tempest makes projects and
users of its own, and Debian's packages python3-tempest, python3-stestr, python3-subunit and python3-openstacksdk.

What it does, in this order: it finds an external network, or makes one, since the tests of floating IPs want to know
one; writes tempest.conf, telling Tempest that the cloud has every extension in EXTENSIONS, so that what a cloud lacks
is a failure and not a skip; runs the tests with stestr, Tempest's runner; and writes one line for each test to the
output: PASS, FAIL or SKIP, the name, and after a tab the reason. It exits with 1 if one has failed or none has run.

What happened in detail is in WORKDIR/logs/tempest.log: every request and answer, under the name of the test.
"""
import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import time

import subunit
import testtools
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
import tempest

# The aliases that the tests ask for. Two are not here: "tag", which the networking service has dropped in favour of
# standard-attr-tag, and "lbaas_agent_scheduler", which went with the load balancers.
EXTENSIONS = """
    agent allowed-address-pairs binding dhcp_agent_scheduler dvr ext-gw-mode external-net extra_dhcp_opt extraroute
    filter-validation ip-substring-filtering l3-ha l3_agent_scheduler metering net-mtu port-security project-id
    provider qos quota_details quotas router security-group service-type standard-attr-description standard-attr-tag
    subnet_allocation
""".split()

# Test ids end with their attributes, as in test_create[id-…,smoke].
ATTRIBUTES = re.compile(r'\[.*\]')
# What a class does for all its tests is reported under a name of its own.
FIXTURE = re.compile(r'^(setUpClass|tearDownClass) \((.+)\)$')


def environment(name, default=None):
    value = os.environ.get(name) or default
    if value is None:
        sys.exit('%s is not set: source the openrc of an administrator first' % name)
    return value


class Cloud:
    """The cloud of the environment, and what Tempest has to be told of it."""

    def __init__(self):
        self.auth_url = environment('OS_AUTH_URL')
        self.user = environment('OS_USERNAME')
        self.password = environment('OS_PASSWORD')
        self.project = environment('OS_PROJECT_NAME')
        self.domain = environment('OS_USER_DOMAIN_NAME', 'Default')
        self.region = environment('OS_REGION_NAME', 'RegionOne')
        self.session = keystone_session.Session(auth=v3.Password(
            auth_url=self.auth_url, username=self.user, password=self.password, project_name=self.project,
            user_domain_name=self.domain, project_domain_name=environment('OS_PROJECT_DOMAIN_NAME', 'Default')))

    def call(self, method, path, body=None):
        where = {'service_type': 'network', 'interface': 'public', 'region_name': self.region}
        return self.session.request('/v2.0' + path, method, json=body, endpoint_filter=where).json()

    def external_network(self):
        """Returns (id, name) of an external network with an IPv4 subnet; makes what is missing."""
        networks = self.call('GET', '/networks?router:external=True')['networks']
        if networks:
            network = networks[0]
        else:
            network = self.call('POST', '/networks', {'network': {
                'name': 'public', 'router:external': True}})['network']
        if not self.call('GET', '/subnets?ip_version=4&network_id=' + network['id'])['subnets']:
            self.call('POST', '/subnets', {'subnet': {
                'name': 'public-v4', 'network_id': network['id'], 'ip_version': 4, 'cidr': '172.24.4.0/24',
                'enable_dhcp': False}})
        return network['id'], network['name']


CONFIGURATION = """\
[DEFAULT]
debug = True
log_dir = {work}/logs
log_file = tempest.log
[oslo_concurrency]
lock_path = {work}/lock
[auth]
use_dynamic_credentials = True
admin_username = {user}
admin_password = {password}
admin_project_name = {project}
admin_domain_name = {domain}
default_credentials_domain_name = {domain}
create_isolated_networks = False
[identity]
auth_version = v3
uri_v3 = {auth_url}
uri = {auth_url}
region = {region}
v3_endpoint_type = public
[identity-feature-enabled]
api_v2 = False
api_v3 = True
[service_available]
neutron = True
nova = False
cinder = False
glance = False
swift = False
horizon = False
[network]
region = {region}
endpoint_type = publicURL
public_network_id = {network_id}
floating_network_name = {network_name}
project_networks_reachable = False
build_timeout = 60
[network-feature-enabled]
ipv6 = True
ipv6_subnet_attributes = True
floating_ips = True
port_admin_state_change = True
port_security = True
api_extensions = {extensions}
[validation]
run_validation = False
"""


def prepare(work):
    """Makes the directory in which Tempest runs."""
    cloud = Cloud()
    network_id, network_name = cloud.external_network()
    for name in ('etc', 'lock', 'logs'):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / 'etc/tempest.conf').write_text(CONFIGURATION.format(
        work=work, user=cloud.user, password=cloud.password, project=cloud.project, domain=cloud.domain,
        auth_url=cloud.auth_url, region=cloud.region, network_id=network_id, network_name=network_name,
        extensions=','.join(EXTENSIONS)))
    (work / 'logs/tempest.log').write_text('')
    here = os.path.dirname(tempest.__file__)
    # One class is run by one worker, since its tests share what setUpClass has made.
    (work / '.stestr.conf').write_text(
        '[DEFAULT]\ntest_path=%s/test_discover\ntop_dir=%s\ngroup_regex=([^\\.]*\\.)*\n' % (here, here))


def stestr(work, *arguments):
    """Runs stestr, and returns its output as bytes. That tests fail is not an error here."""
    variables = dict(os.environ, TEMPEST_CONFIG_DIR=str(work / 'etc'), TEMPEST_CONFIG='tempest.conf',
                     PYTHONDONTWRITEBYTECODE='1', PATH='/usr/bin:/bin')
    done = subprocess.run(['/usr/bin/stestr', *arguments], cwd=work, env=variables, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.stderr and not done.stdout:
        sys.exit('stestr %s: %s' % (' '.join(arguments), done.stderr.decode()))
    return done.stdout


def reason(test):
    """Returns one line that says why a test was skipped or has failed."""
    for name, content in sorted(test['details'].items()):
        lines = content.as_text().strip().splitlines()
        if name == 'reason' and lines:
            return lines[0]
        if name.startswith('traceback'):
            # The exception follows the frames, which are indented; its message may go on for some lines.
            last = max((i for i, line in enumerate(lines) if line.startswith('  ')), default=-1)
            message = lines[last + 1:] or lines[-1:]
            return ' '.join(line.strip() for line in message)[:500]
    return ''


class Results:
    """What became of each test. A class that was skipped or failed as a whole answers for those that did not run."""

    def __init__(self, stream):
        self.tests, self.fixtures = {}, {}
        listener = testtools.StreamToDict(self.add)
        listener.startTestRun()
        subunit.ByteStreamToStreamResult(stream, 'stdout').run(listener)
        listener.stopTestRun()

    def add(self, test):
        outcome = {'success': 'PASS', 'xfail': 'PASS', 'skip': 'SKIP'}.get(test['status'], 'FAIL')
        fixture = FIXTURE.match(test['id'])
        if fixture:
            if outcome != 'PASS':
                self.fixtures[fixture.group(2)] = outcome, '%s: %s' % (fixture.group(1), reason(test))
                if fixture.group(1) == 'tearDownClass':
                    self.tests[test['id']] = outcome, reason(test)
        elif test['status'] != 'exists':
            name = ATTRIBUTES.sub('', test['id'])
            self.tests[name] = outcome, '' if outcome == 'PASS' else reason(test)

    def of(self, expected):
        """Yields (name, outcome, reason) of the expected tests, and of those that ran besides."""
        for name in sorted(set(expected) | set(self.tests)):
            owner = name.rpartition('.')[0]
            yield (name, *self.tests.get(name, self.fixtures.get(owner, ('FAIL', 'it has not run'))))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('work', type=pathlib.Path, help='a directory, made if it is missing')
    options.add_argument('--regex', default=r'^tempest\.api\.network\.', help='which tests (default: %(default)s)')
    options.add_argument('--concurrency', default=str(os.cpu_count()), help='how many at a time')
    options.add_argument('--output', type=pathlib.Path, help='the file of results (default: WORKDIR/results)')
    given = options.parse_args()
    work = given.work.resolve()
    prepare(work)
    if not (work / '.stestr').exists():
        stestr(work, 'init')
    listed = stestr(work, 'list', given.regex).decode().splitlines()
    expected = [ATTRIBUTES.sub('', line) for line in listed if line.startswith('tempest.')]
    if not expected:
        sys.exit('no test has a name like %s' % given.regex)
    start = time.monotonic()
    stestr(work, 'run', '--concurrency', given.concurrency, given.regex)
    took = time.monotonic() - start
    with subprocess.Popen(['/usr/bin/stestr', 'last', '--subunit'], cwd=work, stdout=subprocess.PIPE) as last:
        results = list(Results(last.stdout).of(expected))
    lines = ['%s %s%s' % (outcome, name, '\t' + why if why else '') for name, outcome, why in results]
    (given.output or work / 'results').write_text('\n'.join(lines) + '\n')
    print('\n'.join(line for line in lines if not line.startswith('PASS')))
    count = collections.Counter(outcome for _, outcome, _ in results)
    print('%d passed, %d failed, %d skipped in %.0f s' % (count['PASS'], count['FAIL'], count['SKIP'], took))
    sys.exit(1 if count['FAIL'] or not count['PASS'] else 0)


if __name__ == '__main__':
    main()
