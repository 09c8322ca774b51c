import pytest

from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.delivery.broadcast import ChannelHub
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.delivery.subscriber import Appended
from tests.transport.story import SELECTED, STARTED, Chat


@pytest.mark.broker
async def test_a_channel_is_shared_and_closed_with_its_last_viewer(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    hub = ChannelHub(gateway)
    async with hub.subscribe(chat.key) as (channel, first):
        async with hub.subscribe(chat.key) as (same, second):
            assert channel is same
            assert len(hub) == 1
            await chat.append(STARTED)
            news = [await first.next(), await second.next()]
            assert news[0] is news[1]
        await chat.append(SELECTED)
        assert isinstance(await first.next(), Appended)
    assert len(hub) == 0


@pytest.mark.broker
async def test_the_view_of_a_viewer_is_shared_as_far_as_events_were_published(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    hub = ChannelHub(gateway)
    assert hub.live_view(chat.key) is None
    async with hub.subscribe(chat.key) as (channel, subscriber):
        assert hub.live_view(chat.key) is None  # nobody has read the log yet
        view = await ProjectionCache(gateway.events).get(chat.key)
        assert view is not None
        channel.share_view(view.place, view)
        assert hub.live_view(chat.key) is view
        await chat.append(SELECTED)
        assert isinstance(await subscriber.next(), Appended)
        assert hub.live_view(chat.key) is None  # the viewer has not mapped the event yet
        newer = await ProjectionCache(gateway.events).get(chat.key)
        assert newer is not None
        channel.share_view(newer.place, newer)
        channel.share_view(view.place, view)  # of a viewer that lags
        assert hub.live_view(chat.key) is newer
        channel.resync()
        assert hub.live_view(chat.key) is None
    assert hub.live_view(chat.key) is None
