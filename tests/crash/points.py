"""Daemons that end at named calls, under load: each place where the world can
say no is also a place where the power of kill -9 can strike. The names come
from the program itself."""
import os
import subprocess

import cluster
import kills
from runner import LONG, expect, test, until

CALLS = (1, 1, 2, 3, 5, 9, 20)
SAMPLE = 6  # of the points, on each role
SECONDS = 2  # a call that does not come in that time is not met


def sites():
    """Every name that this build knows."""
    done = subprocess.run([cluster.program(), "mount", "--config", "/nonexistent"], text=True,
                          env=dict(os.environ, TIDEMARK_FAULT="list"),
                          capture_output=True, timeout=20, check=False)
    return done.stdout.split()


class Points(kills.Ordeal):
    def __init__(self, stage):
        super().__init__(stage)
        self.points, self.met = [], set()

    def kill_some(self):
        """The next point, instead of any moment."""
        role, site = self.points.pop()
        self.commits_go_on()
        call = self.stage.rng.choice(CALLS)
        if not self.dies_at(role, site, call) and call > 1:
            self.dies_at(role, site, 1)

    def dies_at(self, role, site, call):
        """It starts to die there; comes back in any case."""
        node = self.nodes.nodes[role]
        node.kill()
        node.launch("%s=%d:KILL" % (site, call))
        try:
            until(lambda: node.process.poll() is not None, "alive", SECONDS)
            self.met.add((role, site))
        except AssertionError:
            node.process.kill()
        node.process.wait(20)
        self.stage.say(node.name, site, call,
                       "met" if (role, site) in self.met else "not met")
        node.process = None
        node.start()
        return (role, site) in self.met


@test(seconds=2400 if LONG else 120, sample=True)
def a_node_killed_at_a_named_call_comes_back_equal(stage):
    every = [(role, site) for role in (0, 1) for site in sites()]
    expect((0, "log.append") in every, "the program names no sites")
    ordeal = Points(stage)
    points = every if LONG else stage.rng.sample(every, 2 * SAMPLE)
    stage.rng.shuffle(points)
    while points:
        ordeal.points, points = points[:20], points[20:]
        ordeal.round(len(ordeal.points))
    for role, name in enumerate(("primary", "replica")):
        stage.say(name, "never met:", *sorted(
            site for site in sites() if (role, site) not in ordeal.met))
    expect(len(ordeal.met) > len(every) / 4 if LONG else ordeal.met,
           "hardly a point was met: %s" % sorted(ordeal.met))
