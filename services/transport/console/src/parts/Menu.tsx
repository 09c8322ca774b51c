/** A menu behind a button. Not modal: modal ones insert a style element, which our policy forbids. */

import { Content, Item, Portal, Root, Trigger } from "@radix-ui/react-dropdown-menu";
import type { ReactNode } from "react";
import { Icon, type IconName } from "./Icon";

export type MenuItem = { label: string; icon?: IconName; danger?: boolean; disabled?: boolean; onSelect: () => void };

export function Menu({ label, items, children, testid }: { label: string; items: MenuItem[]; children: ReactNode; testid?: string }) {
  return (
    <Root modal={false}>
      <Trigger asChild>
        <button type="button" className="icon small" aria-label={label} title={label} data-testid={testid}>{children}</button>
      </Trigger>
      <Portal>
        <Content className="menu" align="end" sideOffset={4} collisionPadding={8}>
          {items.map(({ label: words, icon, danger, disabled, onSelect }) => (
            <Item key={words} className={danger ? "menu-item danger" : "menu-item"} disabled={disabled ?? false} onSelect={onSelect}>
              {icon && <Icon name={icon} size={16} />}{words}
            </Item>
          ))}
        </Content>
      </Portal>
    </Root>
  );
}
