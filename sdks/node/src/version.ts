/** The name and version that this package gives of itself. */

export const VERSION = "0.1.0";
export const SDK = "workersdk-node";
export const USER_AGENT = `${SDK}/${VERSION}`;
