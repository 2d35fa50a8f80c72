//! HTTP APIs for creators and developers, served by the nodes of the market.
